"""The in-memory bus: partitions, offsets, groups, producer epochs and faults, deterministic under a virtual clock."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Protocol

from messages.bus.memory.consumer import MemoryConsumer
from messages.bus.memory.groups import Group
from messages.bus.memory.log import Log, size_bytes
from messages.bus.memory.producer import MemoryProducer
from messages.bus.protocol import (
    MAX_BATCH_BYTES,
    Consumer,
    FencedProducer,
    NewRecord,
    Partition,
    Producer,
    RebalanceListener,
    TopicState,
)
from messages.clock import Clock, SystemClock
from messages.errors import ProducerFenced, Refused, TopicMismatch
from messages.status import ClientState
from messages.topics import Topic

_SETTLE_ROUNDS = 4
_MOST_PASSES = 3


class Faults(Protocol):
    """Hooks around every operation of a client: each may wait, or raise, before and after it takes effect."""

    async def before(self, client: str, operation: str) -> None:
        """Called before the operation has any effect."""
        ...

    async def after(self, client: str, operation: str) -> None:
        """Called after the effect, before the client learns of it: a lost acknowledgement is an error raised here."""
        ...


class NoFaults:
    """Nothing goes wrong: for hooks that do one thing only."""

    async def before(self, client: str, operation: str) -> None: ...

    async def after(self, client: str, operation: str) -> None: ...


class MemoryBroker:
    """The cluster: what all connections share.

    With `seed`, every operation waits for a seeded number of passes of the event loop, so that the seed decides who is
    next: another seed is another interleaving, the same seed the same one. `fencing=False` lets old owners append, for
    tests of readers.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        faults: Faults | None = None,
        fencing: bool = True,
        seed: int | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.fencing = fencing
        self.activity = 0
        self._faults = faults
        self._schedule = None if seed is None else random.Random(seed)
        self.is_undisturbed = faults is None and seed is None
        self._logs: dict[tuple[str, int], Log] = {}
        self._topics: dict[str, Topic] = {}
        self._counts: dict[str, int] = {}
        self._epochs: dict[str, int] = {}
        self._groups: dict[str, Group] = {}

    def connect(self, client: str = "client") -> "MemoryBus":
        """Return a connection whose operations the faults see under the name `client`."""
        return MemoryBus(self, client)

    async def begin(self, client: str, operation: str) -> None:
        """Every operation's way in: what goes wrong before it has an effect."""
        await self.turn()
        if self._faults is not None:
            await self._faults.before(client, operation)

    async def end(self, client: str, operation: str) -> None:
        """Every operation's way out: what goes wrong after it had its effect."""
        if self._faults is not None:
            await self._faults.after(client, operation)
        await self.turn()

    async def turn(self) -> None:
        """Let others go first, as often as the seed says."""
        if self._schedule is not None:
            for _ in range(self._schedule.randrange(_MOST_PASSES + 1)):
                self.activity += 1
                await asyncio.sleep(0)

    async def settle(self) -> None:
        """Return when nothing moves any more: every client waits for records, for the clock or for the outside."""
        while True:
            before = self.activity
            for _ in range(_SETTLE_ROUNDS):
                await asyncio.sleep(0)
            if self.activity == before:
                return

    def create(self, topic: Topic, partitions: int) -> None:
        """Create a topic; nothing happens when it exists."""
        if topic.name not in self._topics:
            self._topics[topic.name] = topic
            self._counts[topic.name] = partitions
            self._logs.update({(topic.name, index): Log(topic.name, index) for index in range(partitions)})

    def state(self, name: str) -> TopicState | None:
        """Return what `describe_topics` says of a topic, or None."""
        topic = self._topics.get(name)
        if topic is None:
            return None
        return TopicState(name=name, partitions=self._counts[name], config=topic.broker_config())

    def count(self, topic: str) -> int:
        """Return a topic's number of partitions. Raises TopicMismatch when there is no such topic."""
        if topic not in self._counts:
            raise TopicMismatch(topic, "does not exist")
        return self._counts[topic]

    def log(self, partition: tuple[str, int]) -> Log:
        """Return a partition's log. Raises TopicMismatch when there is no such partition."""
        try:
            return self._logs[partition]
        except KeyError:
            raise TopicMismatch(partition[0], f"has no partition {partition[1]}") from None

    def append(self, partition: tuple[str, int], records: Sequence[NewRecord]) -> int:
        """Append a batch and return its first offset."""
        log = self.log(partition)
        if not records:
            raise Refused(f"a batch for {log.topic} holds no records")
        if (size := sum(map(size_bytes, records))) > MAX_BATCH_BYTES:
            raise Refused(f"a batch of {size} bytes for {log.topic} is over the limit of {MAX_BATCH_BYTES}")
        self.activity += 1
        return log.append(records, self.clock.now_ns() // 1_000_000)

    def compact(self, topic: str) -> None:
        """Keep the newest record of each key, as a broker's cleaner would; offsets stay."""
        for index in range(self.count(topic)):
            log = self.log((topic, index))
            newest = {record.key: record.offset for record in log.records}
            log.records = [r for r in log.records if newest[r.key] == r.offset and r.value is not None]

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Drop records below `offset`, as retention would."""
        log = self.log(partition)
        log.records = [record for record in log.records if record.offset >= offset]

    def next_epoch(self, producer_id: str) -> int:
        """Give out the id's next epoch: its first append to a partition fences all earlier ones there."""
        self._epochs[producer_id] = self._epochs.get(producer_id, -1) + 1
        return self._epochs[producer_id]

    def check_epoch(self, partition: tuple[str, int], producer_id: str, epoch: int) -> None:
        """Raise ProducerFenced when a newer owner of the id has appended to the partition.

        As on Kafka: what a newer owner has not touched yet still takes the older one's records.
        """
        epochs = self.log(partition).epochs
        if self.fencing and epochs.get(producer_id, epoch) > epoch:
            raise ProducerFenced(producer_id)
        epochs[producer_id] = epoch

    def group(self, name: str) -> Group:
        """Return the consumer group of that name, made on first use."""
        return self._groups.setdefault(name, Group(name))

    def rebalance(self) -> None:
        """Let every group share its partitions anew, as when a member comes or goes."""
        for group in self._groups.values():
            group.rebalance()

    def expire(self, client: str) -> None:
        """Let the memberships of this client's run out, as when a long pause held up its heartbeats."""
        for group in self._groups.values():
            group.expire(client)


class MemoryBus:
    """A connection to a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, client: str) -> None:
        self.broker = broker
        self._client = client

    @property
    def url(self) -> str:
        return "memory://"

    async def producer(self) -> Producer:
        return MemoryProducer(self.broker, self._client)

    async def take_over(self, producer_id: str) -> FencedProducer:
        await self.broker.begin(self._client, f"take_over {producer_id}")
        epoch = self.broker.next_epoch(producer_id)
        await self.broker.end(self._client, f"take_over {producer_id}")
        return MemoryProducer(self.broker, self._client, producer_id=producer_id, epoch=epoch)

    async def consumer(self, *, gather_s: float = 0.0) -> Consumer:  # noqa: ARG002 - no request is to be saved here
        return MemoryConsumer(self.broker, self._client)

    async def subscribe(
        self, topics: Sequence[str], group: str, listener: RebalanceListener, *, member: str | None = None
    ) -> Consumer:
        partitions = [Partition(topic, index) for topic in topics for index in range(self.broker.count(topic))]
        joined = self.broker.group(group)
        membership = joined.join(self._client, partitions, listener, static_name=member)
        return MemoryConsumer(self.broker, self._client, group=joined, membership=membership)

    async def partition_count(self, topic: str) -> int:
        return self.broker.count(topic)

    async def create_topics(self, topics: Iterable[Topic], *, shards: int, replication: int = 1) -> list[str]:  # noqa: ARG002
        missing = [topic for topic in topics if self.broker.state(topic.name) is None]
        for topic in missing:
            self.broker.create(topic, topic.partitions(shards))
        return [topic.name for topic in missing]

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicState]:
        return {name: state for name in names if (state := self.broker.state(name)) is not None}

    def health(self) -> tuple[ClientState, ...]:
        return ()  # nothing between a client and its log that could stall

    async def stop(self) -> None: ...
