"""The in-memory bus: partitions, offsets, groups, producer epochs and faults, deterministic under a virtual clock."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from messages.bus.groups import Group, Member
from messages.bus.memory_log import Log, size_bytes
from messages.bus.partitioner import partition_of
from messages.bus.protocol import (
    MAX_BATCH_BYTES,
    Consumer,
    FencedProducer,
    NewRecord,
    Partition,
    Producer,
    RebalanceListener,
    Record,
    TopicState,
)
from messages.clock import Clock, SystemClock
from messages.errors import BusUnavailable, PartitionLost, ProducerFenced, Refused, TopicMismatch
from messages.status import ClientState
from messages.topics import Topic

_SETTLE_ROUNDS = 4


class Faults(Protocol):
    """Hooks around every operation of a client: each may wait, or raise, before and after it takes effect."""

    async def before(self, client: str, operation: str) -> None:
        """Called before the operation has any effect."""
        ...

    async def after(self, client: str, operation: str) -> None:
        """Called after the effect, before the client learns of it: a lost acknowledgement is an error raised here."""
        ...


class NoFaults:
    """The default: nothing goes wrong."""

    async def before(self, client: str, operation: str) -> None: ...

    async def after(self, client: str, operation: str) -> None: ...


class MemoryBroker:
    """The cluster: what all connections share. `fencing=False` lets old owners append, for tests of readers."""

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None, fencing: bool = True) -> None:
        self.clock: Clock = clock or SystemClock()
        self.faults: Faults = faults or NoFaults()
        self.fencing = fencing
        self.activity = 0
        self._logs: dict[Partition, Log] = {}
        self._topics: dict[str, Topic] = {}
        self._counts: dict[str, int] = {}
        self._epochs: dict[str, int] = {}
        self._groups: dict[str, Group] = {}

    def connect(self, client: str = "client") -> "MemoryBus":
        """Return a connection whose operations the faults see under the name `client`."""
        return MemoryBus(self, client)

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
            self._logs.update({Partition(topic.name, index): Log() for index in range(partitions)})

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

    def log(self, partition: Partition) -> Log:
        """Return a partition's log. Raises TopicMismatch when there is no such partition."""
        if partition not in self._logs:
            raise TopicMismatch(partition.topic, f"has no partition {partition.number}")
        return self._logs[partition]

    def append(self, partition: Partition, records: Sequence[NewRecord]) -> int:
        """Append a batch and return its first offset."""
        log = self.log(partition)
        if not records:
            raise Refused(f"a batch for {partition.topic} holds no records")
        if (size := sum(size_bytes(record) for record in records)) > MAX_BATCH_BYTES:
            raise Refused(f"a batch of {size} bytes for {partition.topic} is over the limit of {MAX_BATCH_BYTES}")
        first = log.end
        now_ms = self.clock.now_ns() // 1_000_000
        for record in records:
            log.append(
                Record(
                    topic=partition.topic,
                    partition=partition.number,
                    offset=log.end,
                    timestamp_ms=now_ms,
                    key=record.key,
                    value=record.value,
                    headers=record.headers,
                )
            )
        self.activity += 1
        return first

    def compact(self, topic: str) -> None:
        """Keep the newest record of each key, as a broker's cleaner would; offsets stay."""
        for index in range(self.count(topic)):
            log = self.log(Partition(topic, index))
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

    def check_epoch(self, partition: Partition, producer_id: str, epoch: int) -> None:
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


class MemoryBus:
    """A connection to a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, client: str) -> None:
        self.broker = broker
        self._client = client

    @property
    def url(self) -> str:
        return "memory://"

    async def producer(self) -> Producer:
        return _MemoryProducer(self.broker, self._client)

    async def take_over(self, producer_id: str) -> FencedProducer:
        await self.broker.faults.before(self._client, f"take_over {producer_id}")
        epoch = self.broker.next_epoch(producer_id)
        await self.broker.faults.after(self._client, f"take_over {producer_id}")
        return _MemoryProducer(self.broker, self._client, producer_id=producer_id, epoch=epoch)

    async def consumer(self) -> Consumer:
        return _MemoryConsumer(self.broker, self._client)

    async def subscribe(
        self, topics: Sequence[str], group: str, listener: RebalanceListener, *, member: str | None = None
    ) -> Consumer:
        partitions = [Partition(topic, index) for topic in topics for index in range(self.broker.count(topic))]
        joined = self.broker.group(group)
        consumer = _MemoryConsumer(self.broker, self._client, group=joined)
        consumer.membership = joined.join(member or self._client, partitions, listener)
        for waiter in joined.waiters:
            _wake(waiter)
        return consumer

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


class _MemoryProducer:
    def __init__(self, broker: MemoryBroker, client: str, *, producer_id: str | None = None, epoch: int = 0) -> None:
        self._broker, self._client = broker, client
        self._producer_id, self._epoch = producer_id, epoch
        self._fenced = self._stopped = False

    async def publish(self, topic: str, record: NewRecord, *, partition: int | None = None) -> int:
        if partition is None:
            count = self._broker.count(topic)
            partition = 0 if record.key is None else partition_of(record.key, count)
        return await self.publish_batch(Partition(topic, partition), [record])

    async def publish_batch(self, partition: Partition, records: Sequence[NewRecord]) -> int:
        operation = f"append {partition.topic}"
        await self._broker.faults.before(self._client, operation)
        if self._stopped:
            raise BusUnavailable("memory://", "this producer was stopped")
        if self._producer_id is not None:
            self._check_owner(partition, self._producer_id)
        first = self._broker.append(partition, records)
        await self._broker.faults.after(self._client, operation)
        return first

    def _check_owner(self, partition: Partition, producer_id: str) -> None:
        if self._fenced:
            raise ProducerFenced(producer_id)
        try:
            self._broker.check_epoch(partition, producer_id, self._epoch)
        except ProducerFenced:
            self._fenced = True
            raise

    async def stop(self) -> None:
        self._stopped = True


class _MemoryConsumer:
    def __init__(self, broker: MemoryBroker, client: str, *, group: Group | None = None) -> None:
        self._broker, self._client, self._group = broker, client, group
        self.membership: Member | None = None
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._next = 0
        self._waiter: asyncio.Future[bool] | None = None
        self._stopped = False

    async def poll(self, *, max_records: int = 512, timeout_s: float = 1.0) -> list[Record]:
        await self._broker.faults.before(self._client, "poll")
        deadline_ns = self._broker.clock.now_ns() + round(timeout_s * 1e9)
        while not self._stopped:
            await self._rebalance()
            if records := self._take(max_records):
                self._broker.activity += 1
                await self._broker.faults.after(self._client, "poll")
                return records
            left_s = (deadline_ns - self._broker.clock.now_ns()) / 1e9
            if left_s <= 0 or not await self._wait(left_s):
                break
        await self._broker.faults.after(self._client, "poll")
        return []

    def _take(self, max_records: int) -> list[Record]:
        """Drain one partition at a time, taking turns, as fetches do."""
        if self._group is not None and self.membership is not None and self._group.is_rebalancing(self.membership):
            return []
        partitions = list(self._positions)
        taken: list[Record] = []
        for turn in range(len(partitions)):
            partition = partitions[(self._next + turn) % len(partitions)]
            if partition in self._paused or len(taken) >= max_records:
                continue
            log = self._broker.log(partition)
            records = log.read(self._positions[partition], max_records - len(taken))
            if records:
                self._positions[partition] = records[-1].offset + 1
                taken += records
            elif self._positions[partition] < log.end:  # compaction took the newest records
                self._positions[partition] = log.end
        self._next += 1
        return taken

    async def _wait(self, timeout_s: float) -> bool:
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        logs = [self._broker.log(partition) for partition in self._positions if partition not in self._paused]
        for log in logs:
            log.readers.add(waiter)
        if self._group:
            self._group.waiters.add(waiter)
        try:
            return await self._broker.clock.wait(waiter, timeout_s)
        finally:
            for log in logs:
                log.readers.discard(waiter)
            if self._group:
                self._group.waiters.discard(waiter)
            if not waiter.done():
                waiter.cancel()

    async def _rebalance(self) -> None:
        if self._group is None or self.membership is None:
            return
        while (assignment := await self._group.assignment(self.membership)) is not None:
            positions = {}
            for partition in assignment:
                stored = self._group.committed.get(partition)
                positions[partition] = self._broker.log(partition).start() if stored is None else stored
            self._positions, self._paused = positions, set()
            self.membership.listener.on_assigned(assignment)
            self._broker.activity += 1
            for waiter in self._group.waiters:
                _wake(waiter)

    async def assign(self, positions: Mapping[Partition, int]) -> None:
        if self._group is not None:
            raise Refused("assign is not for members of a group; use Bus.consumer")
        for partition in positions:
            self._broker.log(partition)
        self._positions = dict(positions)
        self._wake_poll()

    async def seek(self, partition: Partition, offset: int) -> None:
        if partition in self._positions:
            self._positions[partition] = offset
            self._wake_poll()

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._paused.difference_update(partitions)
        self._wake_poll()

    def position(self, partition: Partition) -> int:
        return self._positions[partition]

    async def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        await self._broker.faults.before(self._client, "beginning_offsets")
        return {partition: self._broker.log(partition).start() for partition in partitions}

    async def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        await self._broker.faults.before(self._client, "end_offsets")
        ends = {partition: self._broker.log(partition).end for partition in partitions}
        await self._broker.faults.after(self._client, "end_offsets")
        return ends

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        if self._group is None or self.membership is None:
            raise Refused("commit needs a group; use Bus.subscribe")
        await self._broker.faults.before(self._client, "commit")
        if lost := self._group.not_held(self.membership, offsets):
            raise PartitionLost("commit", f"this member does not hold {lost}")
        self._group.commit(offsets)
        await self._broker.faults.after(self._client, "commit")

    async def committed(self, partition: Partition) -> int | None:
        return self._group.committed.get(partition) if self._group else None

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._wake_poll()
        if self._group and self.membership:
            await self._group.leave(self.membership)
            for waiter in self._group.waiters:
                _wake(waiter)

    def _wake_poll(self) -> None:
        if self._waiter is not None:
            _wake(self._waiter)


def _wake(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(True)
