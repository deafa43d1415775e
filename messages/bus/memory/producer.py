"""Producers of the in-memory bus: the plain one, and the fenced one that owns an id."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from messages.bus.partitioner import partition_of
from messages.bus.protocol import NewRecord, Partition
from messages.errors import BusUnavailable, ProducerFenced

if TYPE_CHECKING:
    from messages.bus.memory.broker import MemoryBroker


class MemoryProducer:
    """Appends to the broker's logs; with `producer_id`, as the owner of that id in `epoch`."""

    def __init__(self, broker: "MemoryBroker", client: str, *, producer_id: str | None = None, epoch: int = 0) -> None:
        self._broker, self._client = broker, client
        self._producer_id, self._epoch = producer_id, epoch
        self._fenced = self._stopped = False

    async def publish(self, topic: str, record: NewRecord, *, partition: int | None = None) -> int:
        if partition is None:
            count = self._broker.count(topic)
            partition = 0 if record.key is None else partition_of(record.key, count)
        if self._broker.is_undisturbed:
            return self._append((topic, partition), (record,))
        return await self._append_disturbed((topic, partition), (record,))

    async def publish_batch(self, partition: Partition, records: Sequence[NewRecord]) -> int:
        if self._broker.is_undisturbed:
            return self._append(partition, records)
        return await self._append_disturbed(partition, records)

    async def _append_disturbed(self, partition: tuple[str, int], records: Sequence[NewRecord]) -> int:
        operation = f"append {partition[0]}"
        await self._broker.begin(self._client, operation)
        first = self._append(partition, records)
        await self._broker.end(self._client, operation)
        return first

    def _append(self, partition: tuple[str, int], records: Sequence[NewRecord]) -> int:
        if self._stopped:
            raise BusUnavailable("memory://", "this producer was stopped")
        if self._producer_id is not None:
            self._check_owner(partition, self._producer_id)
        return self._broker.append(partition, records)

    def _check_owner(self, partition: tuple[str, int], producer_id: str) -> None:
        if self._fenced:
            raise ProducerFenced(producer_id)
        try:
            self._broker.check_epoch(partition, producer_id, self._epoch)
        except ProducerFenced:
            self._fenced = True
            raise

    async def stop(self) -> None:
        self._stopped = True
