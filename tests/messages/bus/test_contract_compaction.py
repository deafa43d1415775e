"""The contract of compacted topics: who folds by key ends with the same, whether or not the cleaner was there."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from msgspec.structs import replace

from agents.lifecycle import local_kafka
from messages import NewRecord, Partition, Record
from messages.bus.memory.broker import MemoryBroker
from messages.bus.protocol import Bus, Consumer
from messages.bus.reading import read_all
from messages.topics import TOPICS
from tests.brokers import new_directory
from tests.clusters import KafkaCluster

STATUS = Partition("status", 0)
# The cleaner takes only what is older than the open segment: here each append opens a new one.
EAGER = {"segment.ms": "1", "min.cleanable.dirty.ratio": "0.0", "delete.retention.ms": "0"}


def fold(records: Sequence[Record]) -> dict[bytes | None, bytes]:
    """The newest value of each key; a tombstone takes it away."""
    newest = {record.key: record.value for record in records}
    return {key: value for key, value in newest.items() if value is not None}


async def write(bus: Bus) -> dict[bytes | None, bytes]:
    """Three keys many times over, one of them deleted at last; returns what a reader must end with."""
    producer = await bus.producer()
    for index in range(30):
        await producer.publish("status", NewRecord(key=b"%d" % (index % 3), value=b"v%d" % index))
        await asyncio.sleep(0.002)  # a new millisecond, so a new segment
    await producer.publish("status", NewRecord(key=b"2", value=None))
    await asyncio.sleep(0.002)
    await producer.publish("status", NewRecord(key=b"last", value=b"open segment"))
    return {b"0": b"v27", b"1": b"v28", b"last": b"open segment"}


async def test_readers_of_the_in_memory_bus_fold_the_same_before_and_after_compaction() -> None:
    broker = MemoryBroker()
    bus = broker.connect()
    await bus.create_topics([TOPICS["status"]], shards=1)
    expected = await write(bus)
    before, positions = await read_all(bus, ["status"])
    broker.compact("status")
    after, positions_after = await read_all(bus, ["status"])
    assert fold(before) == fold(after) == expected
    assert [record.offset for record in after] == [27, 28, 31]
    assert positions == positions_after
    await reads_over_a_gap(await bus.consumer())


@pytest.fixture(scope="module")
def cleaning_kafka(kafka_url: str) -> Iterator[str]:
    """A broker whose cleaner looks often; `kafka_url` is asked for because it skips where none can be started."""
    directory = new_directory()
    broker = replace(local_kafka.new_broker(directory), settings={"log.cleaner.backoff.ms": "100"})
    try:
        local_kafka.start(broker)
        yield broker.url
    finally:
        local_kafka.stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def kafka(cleaning_kafka: str) -> AsyncIterator[KafkaCluster]:
    cluster = KafkaCluster(cleaning_kafka)
    yield cluster
    await cluster.stop()


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_readers_of_kafka_fold_the_same_before_and_after_its_cleaner(kafka: KafkaCluster) -> None:
    bus = kafka.connect()
    await bus.create_topics([replace(TOPICS["status"], config=EAGER)], shards=1)
    expected = await write(bus)
    before, _ = await read_all(bus, ["status"])
    assert fold(before) == expected
    producer = await bus.producer()
    for _ in range(300):
        after, _ = await read_all(bus, ["status"])
        assert fold(after) == expected
        if len(after) <= 8:
            break
        await producer.publish("status", NewRecord(key=b"last", value=b"open segment"))
    assert len(after) <= 8, "the cleaner did nothing"
    assert [record.key for record in after].count(b"0") == 1
    await reads_over_a_gap(await bus.consumer())


async def reads_over_a_gap(consumer: Consumer) -> None:
    """From an offset that the cleaner took the next one that is left comes; no error, and no wait."""
    await consumer.assign({STATUS: 1})
    records = await consumer.poll(timeout_s=5, max_records=1)
    assert records
    assert records[0].offset > 1
    assert consumer.position(STATUS) == records[0].offset + 1
