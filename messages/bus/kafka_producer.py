"""Producers on Kafka: the plain idempotent one, and the fenced one that owns an id."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber

from messages.bus.kafka_calls import KafkaTimeouts, as_bus_error, bounded, closed, started
from messages.bus.partitioner import partition_of
from messages.bus.protocol import MAX_BATCH_BYTES, NewRecord, Partition
from messages.errors import BusTimeout, BusUnavailable, ProducerFenced, Refused, TopicMismatch

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
    ) -> None:
        self._url, self._prefix, self._timeouts, self._count = url, prefix, timeouts, count
        self._producer_id, self._on_stop = producer_id, on_stop
        self._counts: dict[str, int] = {}
        self._asking = asyncio.Lock()
        self._broken: KafkaError | None = None
        self._fenced = self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._raw = AIOKafkaProducer(
            **connection,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_BATCH_BYTES,
            request_timeout_ms=round(timeouts.request_s * 1000),
            retry_backoff_ms=timeouts.retry_backoff_ms,
            transactional_id=None if producer_id is None else prefix + producer_id,
        )

    async def start(self) -> None:
        """Connect and get the producer id and epoch. Raises BusUnavailable."""
        try:
            await started(self._url, "a producer", self._start, self._timeouts.start_s)
        except BaseException:
            await self.stop()
            raise

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
            acknowledgement = await self._raw.send(
                self._prefix + topic, record.value, record.key, partition, None, list(record.headers)
            )
            # Cheaper than asyncio.timeout by a third of the call; queueing before it is bounded by request_s.
            deadline = self._loop.call_later(self._timeouts.send_s, _expire, acknowledgement)
            try:
                metadata = await acknowledgement
            finally:
                deadline.cancel()
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
            async with asyncio.timeout(self._timeouts.send_s):
                batch = self._raw.create_batch()
                for record in records:
                    added = batch.append(
                        timestamp=None, key=record.key, value=record.value, headers=list(record.headers)
                    )
                    # The first record is taken whatever its size: that one is judged by the size of the whole.
                    if added is None or batch.size() > MAX_BATCH_BYTES:
                        raise Refused(f"{operation}: over the {MAX_BATCH_BYTES} bytes that fit into one batch")
                batch.close()
                acknowledgement = await self._raw.send_batch(batch, self._prefix + topic, partition=number)
                metadata = await acknowledgement
        except (KafkaError, OSError, RuntimeError) as error:
            raise self._failed(error, operation) from error
        return self._offset(metadata.offset, topic)

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
            return BusTimeout(operation, self._timeouts.send_s)
        failure = as_bus_error(error, self._url, operation, self._timeouts.send_s, self._producer_id)
        if isinstance(failure, ProducerFenced):
            self._fenced = True
        elif isinstance(error, OutOfOrderSequenceNumber):
            # A batch that the broker refused has used up sequence numbers: nothing after it is taken any more.
            self._broken = error
        return failure

    def _offset(self, offset: int, topic: str) -> int:
        # A duplicate that the broker remembers only by its sequence is appended, at an offset that nobody tells.
        if offset < 0:
            raise BusTimeout(f"publish to {topic}: the record is appended, but its offset", self._timeouts.send_s)
        return offset

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._on_stop(self)
        await closed(self._url, "a producer", self._raw.stop(), self._raw.client, self._timeouts.stop_s)


def _expire(acknowledgement: asyncio.Future[Any]) -> None:
    if not acknowledgement.done():
        acknowledgement.set_exception(TimeoutError())
