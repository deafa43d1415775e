"""Producers on Kafka: the plain idempotent one, and the fenced one that owns an id."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber

from messages.bus.health import SendingHealth, Verdict
from messages.bus.kafka.calls import KafkaTimeouts, as_bus_error, bounded, closed, started
from messages.bus.kafka.raw import abandon, ended_producer, raw_producer
from messages.bus.kafka.turns import Turns
from messages.bus.kafka.watch import Watch, quietly
from messages.bus.partitioner import partition_of
from messages.bus.protocol import MAX_BATCH_BYTES, NewRecord, Partition
from messages.clock import Clock
from messages.errors import BusTimeout, BusUnavailable, ProducerFenced, Refused, TopicMismatch
from messages.status import ClientKind

CountPartitions = Callable[[str], Awaitable[int]]


class KafkaProducer:
    """One aiokafka producer, idempotent, one request in flight per broker; with `producer_id`, fenced."""

    def __init__(
        self,
        *,
        url: str,
        prefix: str,
        connection: dict[str, Any],
        timeouts: KafkaTimeouts,
        count: CountPartitions,
        producer_id: str | None = None,
        on_stop: Callable[["KafkaProducer"], None],
        clock: Clock,
    ) -> None:
        self._url, self._prefix, self._timeouts, self._count = url, prefix, timeouts, count
        self._producer_id, self._on_stop = producer_id, on_stop
        self._counts: dict[str, int] = {}
        self._asking = asyncio.Lock()
        self._turns: dict[tuple[str, int], Turns] = {}
        self._connection = connection
        self._broken: KafkaError | None = None
        self._fenced = self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._pending: set[asyncio.Future[Any]] = set()
        self._handled = self._timed_out = 0
        self._health = SendingHealth(stall_ns=round(timeouts.stall_s * 1e9))
        self._raw = self._new_raw()
        self.watch = Watch(self, url=url, timeouts=timeouts, clock=clock)

    def _new_raw(self) -> AIOKafkaProducer:
        producer_id = None if self._producer_id is None else self._prefix + self._producer_id
        return raw_producer(self._connection, self._timeouts, producer_id=producer_id)

    async def start(self) -> None:
        """Connect and get the producer id and epoch. Raises BusUnavailable."""
        try:
            await started(self._url, "a producer", self._start, self._timeouts.start_s)
        except BaseException:
            await self.stop()
            raise
        self.watch.begin()

    async def _start(self) -> None:
        await self._raw.start()
        if self._producer_id is not None:
            # InitProducerId with the transactional id has given (producer id, epoch + 1). Without that id aiokafka goes
            # on with both as an idempotent producer: no transactions, and the broker still compares epochs.
            self._raw._txn_manager.transactional_id = None  # noqa: SLF001 - held in this class, with a contract test

    async def publish(self, topic: str, record: NewRecord, *, partition: int | None = None) -> int:
        count = await self._count_partitions(topic)
        if partition is None:
            partition = 0 if record.key is None else partition_of(record.key, count)
        self._check(topic, partition, count)
        try:
            async with self._turns_of(topic, partition):
                acknowledgement = await self._raw.send(
                    self._prefix + topic, record.value, record.key, partition, None, list(record.headers)
                )
            metadata = await self._acknowledged(acknowledgement)
        except (KafkaError, OSError, RuntimeError) as error:
            raise self._failed(error, f"publish to {topic}") from error
        return self._offset(metadata.offset, topic)

    async def publish_batch(self, partition: Partition, records: Sequence[NewRecord]) -> int:
        topic, number = partition
        self._check(topic, number, await self._count_partitions(topic))
        operation = f"publish {len(records)} records to {topic}"
        if not records:
            raise Refused(f"a batch for {topic} holds no records")
        try:
            batch = self._raw.create_batch()
            for record in records:
                added = batch.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers))
                # The first record is taken whatever its size: that one is judged by the size of the whole.
                if added is None or batch.size() > MAX_BATCH_BYTES:
                    raise Refused(f"{operation}: over the {MAX_BATCH_BYTES} bytes that fit into one batch")
            batch.close()
            async with self._turns_of(topic, number):
                acknowledgement = await self._raw.send_batch(batch, self._prefix + topic, partition=number)
            metadata = await self._acknowledged(acknowledgement)
        except (KafkaError, OSError, RuntimeError) as error:
            raise self._failed(error, operation) from error
        return self._offset(metadata.offset, topic)

    async def _acknowledged(self, acknowledgement: asyncio.Future[Any]) -> Any:
        """Wait for the broker's answer. Raises TimeoutError; waiting for room before it is bounded by request_s."""
        deadline = self._loop.call_later(self._timeouts.send_s, _expire, acknowledgement)  # cheaper than a timeout
        self._pending.add(acknowledgement)
        try:
            return await acknowledgement
        finally:
            deadline.cancel()
            self._pending.discard(acknowledgement)

    def _turns_of(self, topic: str, partition: int) -> Turns:
        if (turns := self._turns.get((topic, partition))) is None:
            turns = self._turns[topic, partition] = Turns(self._timeouts.send_s)
        return turns

    async def _count_partitions(self, topic: str) -> int:
        """Return a topic's partitions. Calls made while a topic is new keep their order behind the one that asks."""
        if topic in self._counts and not self._asking.locked():
            return self._counts[topic]
        async with self._asking:
            self._check_usable()
            if topic not in self._counts:
                self._counts[topic] = await self._count(topic)
                # Else the client asks once more inside the first send, and later ones overtake it.
                known = self._raw.partitions_for(self._prefix + topic)
                await bounded(self._url, f"metadata of {topic}", known, self._timeouts.metadata_s)
        return self._counts[topic]

    def _check(self, topic: str, partition: int, count: int) -> None:
        self._check_usable()
        if not 0 <= partition < count:
            raise TopicMismatch(topic, f"has no partition {partition}")

    def _check_usable(self) -> None:
        if self._fenced and self._producer_id is not None:
            raise ProducerFenced(self._producer_id)
        if self._stopped:
            raise BusUnavailable(self._url, "this producer was stopped")
        if self._broken is not None:
            raise BusUnavailable(self._url, f"this producer is out of step since {self._broken!r}; make a new one")

    def _failed(self, error: Exception, operation: str) -> Exception:
        if isinstance(error, TimeoutError):
            self._timed_out += 1
            return BusTimeout(operation, self._timeouts.send_s)
        failure = as_bus_error(error, self._url, operation, self._timeouts.send_s, self._producer_id)
        if isinstance(failure, ProducerFenced):
            self._fenced = True
        elif isinstance(error, OutOfOrderSequenceNumber):
            # A batch that the broker refused has used up sequence numbers: nothing after it is taken any more.
            self._broken = error
        return failure

    def _offset(self, offset: int, topic: str) -> int:
        self._handled += 1
        # A duplicate that the broker remembers only by its sequence is appended, at an offset that nobody tells.
        if offset < 0:
            raise BusTimeout(f"publish to {topic}: the record is appended, but its offset", self._timeouts.send_s)
        return offset

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._on_stop(self)
        try:
            if self._pending:
                await self.close_raw(self._raw)
            else:  # what it may still hold was given up by its callers
                await abandon(self._url, self._raw, self._timeouts.stop_s)
        finally:
            await self.watch.end()

    @property
    def name(self) -> str:
        return self._producer_id or "producer"

    @property
    def kind(self) -> ClientKind:
        return "producer" if self._producer_id is None else "owner"

    async def look(self, now_ns: int) -> Verdict:
        failure = None if self._broken is None else f"it is out of step: {self._broken!r}"
        if self._fenced:
            failure = "a newer owner has fenced it"
        failure = failure or ended_producer(self._raw)
        return self._health.look(now_ns, acknowledged=self._handled, pending=len(self._pending), failure=failure)

    def figures(self) -> tuple[int, int, int]:
        return self._handled, len(self._pending), self._timed_out

    def new_raw(self) -> AIOKafkaProducer | None:
        # Another owner's epoch would let this one go on unseen: a fenced producer's shard recovers with a new Claim.
        return None if self._producer_id is not None else self._new_raw()

    async def replace(self, fresh: Any, within_s: float) -> bool:  # noqa: ARG002 - taken at once
        """Go on with `fresh`. The fate of what was under way is unknown: its callers get BusTimeout now."""
        if self._stopped:
            return False
        old, self._raw, self._broken = self._raw, fresh, None
        self._health = SendingHealth(stall_ns=round(self._timeouts.stall_s * 1e9))
        for acknowledgement in self._pending:
            _expire(acknowledgement)
        self.watch.spawn(quietly(abandon(self._url, old, self._timeouts.stop_s)), f"closing {self.name}")
        return True

    async def close_raw(self, raw: Any) -> None:
        await closed(self._url, "a producer", raw.stop(), raw.client, self._timeouts.stop_s)


def _expire(acknowledgement: asyncio.Future[Any]) -> None:
    if not acknowledgement.done():
        acknowledgement.set_exception(TimeoutError())
