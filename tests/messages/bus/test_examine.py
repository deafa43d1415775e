"""The checks asked of real clusters, and what they find when somebody has done it wrong."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from messages import TOPICS, NewRecord, Partition, VirtualClock
from messages.bus.checks import Finding, StartRefused, require
from messages.bus.examine import examine
from messages.bus.kafka.bus import KafkaBus
from messages.bus.memory.broker import MemoryBroker
from messages.clock import SystemClock
from messages.errors import TopicMismatch
from tests.clusters import SHARDS, KafkaCluster
from tests.rules.tree import ROOT


@pytest.fixture
async def cluster(kafka_url: str) -> AsyncIterator[KafkaCluster]:
    under_test = KafkaCluster(kafka_url)
    yield under_test
    await under_test.stop()


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


async def test_in_memory_only_the_clock_is_looked_at() -> None:
    findings = await examine(MemoryBroker().connect(), shards=4, clock=SystemClock())
    assert [(finding.check, finding.level) for finding in findings] == [("clock", "ok")]


@pytest.mark.kafka
async def test_a_cluster_as_it_should_be_passes_every_check(cluster: KafkaCluster) -> None:
    bus = cluster.connect()
    await bus.create_topics(TOPICS.values(), shards=SHARDS)
    producer = await bus.producer()
    await producer.publish("market", NewRecord(key=b"k", value=b"v"))
    findings = await examine(bus, shards=SHARDS, clock=SystemClock())
    assert {finding.level for finding in findings} == {"ok"}
    assert {"aiokafka", "clock", "broker 1", "topics", "replication"} <= set(by_check(findings))
    assert "newest record" in by_check(findings)["clock"].found


@pytest.mark.kafka
async def test_missing_topics_and_another_number_of_shards_are_refused(cluster: KafkaCluster) -> None:
    bus = cluster.connect()
    with pytest.raises(TopicMismatch, match="topic market: missing"):
        require(await examine(bus, shards=SHARDS, clock=SystemClock()))
    await bus.create_topics(TOPICS.values(), shards=SHARDS)
    with pytest.raises(TopicMismatch, match=f"{SHARDS} partitions, must be 2"):
        require(await examine(bus, shards=2, clock=SystemClock()))


@pytest.mark.kafka
async def test_a_clock_behind_the_records_on_the_brokers_is_refused(cluster: KafkaCluster) -> None:
    bus = cluster.connect()
    await bus.create_topics(TOPICS.values(), shards=SHARDS)
    producer = await bus.producer()
    offset = await producer.publish("market", NewRecord(key=b"k", value=b"v"), partition=0)
    consumer = await bus.consumer()
    await consumer.assign({Partition("market", 0): offset})
    (record,) = await consumer.poll(timeout_s=10)
    late = VirtualClock(record.timestamp_ms * 10**6 - 60 * 10**9)
    with pytest.raises(StartRefused, match=r"clock: this machine's clock is 60\.\d s behind"):
        require(await examine(bus, shards=SHARDS, clock=late))


@pytest.mark.kafka
async def test_settings_that_lose_records_or_stop_sends_are_found(cluster: KafkaCluster, kafka_url: str) -> None:
    bus = cluster.connect()
    assert isinstance(bus, KafkaBus)
    await bus.create_topics([topic for topic in TOPICS.values() if topic.name != "orders"], shards=SHARDS)
    prefix = cluster._prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_url.removeprefix("kafka://"))
    await admin.start()
    wrong = {"min.insync.replicas": "2", "cleanup.policy": "compact"}
    await admin.create_topics([NewTopic(f"{prefix}orders", SHARDS, 1, topic_configs=wrong)])
    short = {"retention.ms": "1000", **TOPICS["market"].config}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{prefix}market", short)])
    await admin.close()
    async with asyncio.timeout(20):
        while not (await bus.facts()).replication.get("orders"):
            pass
    findings = by_check(await examine(bus, shards=SHARDS, clock=SystemClock()))
    assert findings["replication"].level == "wrong"
    assert "(orders)" in findings["replication"].found
    assert findings["topic orders"].level == "wrong"
    assert findings["topic market"].level == "warning"


@pytest.mark.kafka
def test_run_refuses_a_cluster_without_topics_in_one_line(kafka_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agents", "run", "venue"],
        cwd=ROOT,
        env={**os.environ, "TICKPILOT_BUS": kafka_url, "TICKPILOT_PREFIX": "nothing-here-"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("tickpilot: topic market: missing; run `tickpilot topics check`")
    assert "Traceback" not in done.stderr
