"""A local cluster is one cluster, keeps what was acknowledged when a node is killed, and leaves nothing behind."""

from pathlib import Path

import pytest

from agents.lifecycle import local_cluster, local_kafka
from messages import TOPICS, NewRecord
from messages.bus.kafka.bus import KafkaBus
from tests.brokers import own_cluster


def test_nodes_of_a_cluster_share_its_id_and_know_each_other_by_different_ports(tmp_path: Path) -> None:
    brokers = local_cluster.new_cluster(tmp_path)
    assert len({broker.cluster_id for broker in brokers}) == 1
    assert [broker.node_id for broker in brokers] == [1, 2, 3]
    assert len({port for broker in brokers for port in (broker.port, broker.controller_port)}) == 6
    assert {broker.voters for broker in brokers} == {
        tuple(f"{broker.node_id}@127.0.0.1:{broker.controller_port}" for broker in brokers)
    }


@pytest.mark.kafka
async def test_a_cluster_takes_records_while_one_of_three_is_killed_and_has_them_after_its_return(
    kafka_url: str,
) -> None:
    with own_cluster() as brokers:
        bus = KafkaBus(local_cluster.url_of(brokers))
        await bus.create_topics([TOPICS["control"]], shards=1, replication=3)
        producer = await bus.producer()
        assert await producer.publish("control", NewRecord(value=b"1")) == 0
        local_kafka.kill(brokers[0])
        assert await producer.publish("control", NewRecord(value=b"2")) == 1
        local_kafka.start(brokers[0])
        assert await producer.publish("control", NewRecord(value=b"3")) == 2
        await bus.stop()
    assert not any(broker.directory.exists() for broker in brokers)
