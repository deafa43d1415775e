"""What only the Kafka bus has: addresses, brokers that are away, positions that no longer exist."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise

import pytest
import uvloop

from agents.lifecycle import local_kafka
from messages import BusTimeout, BusUnavailable, Consumer, NewRecord, Partition, Refused, connect
from messages.bus.kafka.bus import KafkaBus
from messages.bus.kafka.calls import KafkaTimeouts, warn_if_slow
from messages.errors import TopicMismatch
from tests.brokers import own_broker
from tests.clusters import Heard, KafkaCluster, create, read, values

HASTY = KafkaTimeouts(start_s=1, send_s=1, request_s=1, commit_s=1, metadata_s=1, stop_s=1)
ORDERS = Partition("orders", 1)


@pytest.fixture
async def cluster(kafka_url: str) -> AsyncIterator[KafkaCluster]:
    under_test = KafkaCluster(kafka_url)
    yield under_test
    await under_test.stop()


@pytest.mark.parametrize("url", ["kafka://", "kafka://localhost", "localhost:9092", "kafka://a:1,b", "redis://a:1"])
def test_an_address_without_brokers_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="kafka://host:port"):
        connect(url)


def test_the_compiled_record_parser_is_there() -> None:
    assert not warn_if_slow()


async def test_brokers_that_nobody_answers_at_are_unavailable() -> None:
    bus = KafkaBus(f"kafka://127.0.0.1:{local_kafka.free_port()}", timeouts=HASTY)
    for call in (bus.producer, bus.consumer, lambda: bus.take_over("shard-0"), lambda: bus.partition_count("orders")):
        with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1"):
            await call()
    await bus.stop()


async def test_a_broker_that_accepts_but_never_answers_is_unavailable_in_time() -> None:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    bus = KafkaBus(f"kafka://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeouts=HASTY)
    for call in (bus.producer, bus.consumer, lambda: bus.partition_count("orders")):
        with pytest.raises(BusUnavailable, match="starting"):
            await asyncio.wait_for(call(), 4)
    await bus.stop()
    for writer in writers:
        writer.close()
    server.close()
    await server.wait_closed()


@pytest.mark.kafka
async def test_a_position_past_the_end_is_refused_loudly(cluster: KafkaCluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    consumer = await bus.consumer()
    await consumer.assign({ORDERS: 7})
    with pytest.raises(TopicMismatch, match="ends at 0, but 7"):
        await read(consumer, 1, polls=4)


@pytest.mark.kafka
async def test_a_static_member_comes_back_to_its_partitions(cluster: KafkaCluster) -> None:
    bus = cluster.connect()
    await create(bus, "market")
    heards = [Heard() for _ in range(3)]
    one = await bus.subscribe(["market"], "execution", heards[0], member="one")
    two = await bus.subscribe(["market"], "execution", heards[1], member="two")
    for _ in range(50):
        await asyncio.gather(one.poll(timeout_s=0.1), two.poll(timeout_s=0.1))
        if len(heards[0].held) == len(heards[1].held) == 2:
            break
    held = list(heards[1].held)
    assert len(held) == 2
    await two.stop()
    assignments = heards[0].assignments
    again = await cluster.connect("two").subscribe(["market"], "execution", heards[2], member="two")
    for _ in range(50):
        await asyncio.gather(one.poll(timeout_s=0.1), again.poll(timeout_s=0.1))
        if heards[2].held:
            break
    assert heards[2].held == held
    assert heards[0].assignments == assignments


@pytest.mark.kafka
def test_the_bus_works_on_uvloop(kafka_url: str) -> None:
    async def round_trip() -> list[bytes | None]:
        cluster = KafkaCluster(kafka_url)
        bus = cluster.connect()
        await create(bus, "market")
        heard = Heard()
        member = await bus.subscribe(["market"], "execution", heard)
        producer = await bus.take_over("shard-0")
        await producer.publish("market", NewRecord(key=b"BTC-USD", value=b"1"))
        records = await read(member, 1)
        await cluster.stop()
        return values(records)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(round_trip()) == [b"1"]


@pytest.mark.kafka
async def test_a_frozen_broker_costs_each_call_its_timeout_and_no_record(kafka_url: str) -> None:
    with own_broker() as broker:
        bus = KafkaBus(broker.url, timeouts=HASTY)
        await create(bus, "orders")
        producer, owner, consumer = await bus.producer(), await bus.take_over("shard-1"), await bus.consumer()
        member = await bus.subscribe(["orders"], "execution", Heard())
        await producer.publish("orders", NewRecord(value=b"before"), partition=1)
        await owner.publish("orders", NewRecord(value=b"before"), partition=1)
        await consumer.assign({ORDERS: 0})
        assert len(await read(consumer, 2)) == len(await read(member, 2)) == 2
        loop = asyncio.get_running_loop()
        moments = [loop.time()]
        os.kill(local_kafka.pid_of(broker), signal.SIGSTOP)
        try:
            for call in (
                producer.publish("orders", NewRecord(value=b"unknown"), partition=1),
                owner.publish_batch(ORDERS, [NewRecord(value=b"unknown")]),
                consumer.end_offsets([ORDERS]),
                member.commit({ORDERS: 1}),
                bus.partition_count("orders"),
            ):
                with pytest.raises((BusTimeout, BusUnavailable)):
                    await call
                moments.append(loop.time())
            for stop in (owner.stop(), consumer.stop(), member.stop()):
                with suppress(BusTimeout):
                    await stop
                moments.append(loop.time())
        finally:
            os.kill(local_kafka.pid_of(broker), signal.SIGCONT)
        assert max(later - earlier for earlier, later in pairwise(moments)) < 4
        assert await read(await _reader(bus), 3)
        last = await producer.publish("orders", NewRecord(value=b"after"), partition=1)
        everything = values(await read(await _reader(bus), last + 1))
        assert everything[:2] == [b"before", b"before"]
        assert everything.count(b"after") == 1
        assert everything.count(b"unknown") <= 2
        await bus.stop()


async def _reader(bus: KafkaBus) -> Consumer:
    consumer = await bus.consumer()
    await consumer.assign({ORDERS: 0})
    return consumer
