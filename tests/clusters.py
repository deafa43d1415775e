"""Clusters for tests of the bus: several clients on one set of topics, in memory or on a real Kafka."""

import asyncio
import gc
import warnings
from collections.abc import Sequence
from typing import Protocol
from uuid import uuid4

from messages.bus.kafka.bus import KafkaBus
from messages.bus.kafka.consumer import KafkaConsumer
from messages.bus.memory.broker import MemoryBroker
from messages.bus.memory.consumer import MemoryConsumer
from messages.bus.protocol import Bus, Consumer, Partition, Record
from messages.topics import TOPICS

SHARDS = 4


class Cluster(Protocol):
    """Where a test's clients connect to."""

    def connect(self, client: str = "test") -> Bus:
        """Return a new connection."""
        ...

    async def vanish(self, consumer: Consumer) -> None:
        """End a consumer as a killed process does: nobody is told."""
        ...

    async def stop(self) -> None:
        """Close all connections."""
        ...


class MemoryCluster:
    """All connections share one in-memory broker."""

    def __init__(self) -> None:
        self._broker = MemoryBroker()

    def connect(self, client: str = "test") -> Bus:
        return self._broker.connect(client)

    async def vanish(self, consumer: Consumer) -> None:
        assert isinstance(consumer, MemoryConsumer)
        consumer.vanish()

    async def stop(self) -> None: ...


class KafkaCluster:
    """All connections share a prefix that no other test has."""

    def __init__(self, url: str) -> None:
        self._url, self._prefix = url, f"test-{uuid4().hex[:12]}-"
        self._buses: list[KafkaBus] = []

    def connect(self, client: str = "test") -> Bus:
        self._buses.append(KafkaBus(self._url, client=client, prefix=self._prefix))
        return self._buses[-1]

    async def vanish(self, consumer: Consumer) -> None:
        assert isinstance(consumer, KafkaConsumer)
        coordinator = consumer._raw._coordinator
        if consumer._news is not None:
            consumer._news.held = []  # the listener hears nothing either
        tasks = [coordinator._coordination_task, coordinator._heartbeat_task]
        coordinator._heartbeat_task = None  # without a word to the group
        for task in filter(None, tasks):
            task.cancel()
        await asyncio.wait([task for task in tasks if task is not None])
        coordinator.generation = -1  # so closing it sends no LeaveGroup
        await consumer.stop()

    async def stop(self) -> None:
        for bus in self._buses:
            await bus.stop()
        with warnings.catch_warnings():
            # aiokafka forgets a connection when it is cancelled between connecting and the first answer.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect(1)
            await asyncio.sleep(0)


async def create(bus: Bus, *topics: str) -> None:
    """Create registered topics with SHARDS partitions each."""
    await bus.create_topics([TOPICS[topic] for topic in topics], shards=SHARDS)


async def read(consumer: Consumer, count: int, *, polls: int = 40) -> list[Record]:
    """Poll until `count` records have come, or `polls` times half a second have passed."""
    records: list[Record] = []
    for _ in range(polls):
        records += await consumer.poll(timeout_s=0.5, max_records=count - len(records))
        if len(records) >= count:
            break
    return records


def values(records: Sequence[Record]) -> list[bytes | None]:
    """Return the records' values."""
    return [record.value for record in records]


class Heard:
    """A rebalance listener that remembers what it was told."""

    def __init__(self) -> None:
        self.held: list[Partition] = []
        self.revoked: list[Partition] = []
        self.assignments = 0

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        self.held = list(partitions)
        self.assignments += 1

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        self.held = []
        self.revoked = list(partitions)
