"""Records on their way to one partition: in order, in batches, one batch in flight, a bounded number waiting."""

import asyncio

from messages import NewRecord, Partition, Producer

MAX_BATCH_RECORDS = 256
MAX_BATCH_BYTES = 256 * 1024


class Lane:
    """Sends what is put in, oldest first; the next batch is whatever came while the last one was on its way."""

    def __init__(self, partition: Partition, producer: Producer, *, max_waiting: int) -> None:
        self._partition, self._producer = partition, producer
        self._waiting: asyncio.Queue[NewRecord] = asyncio.Queue(max_waiting)
        self._held: NewRecord | None = None
        self._batch: list[NewRecord] = []
        self.acknowledged = 0

    async def put(self, record: NewRecord) -> None:
        """Queue a record; waits while the lane is full."""
        await self._waiting.put(record)

    async def publish(self, record: NewRecord) -> None:
        """Send one record at once and return after its acknowledgement; not to be mixed with `put`."""
        await self._producer.publish_batch(self._partition, [record])
        self.acknowledged += 1

    async def flush(self) -> None:
        """Return when everything put in is acknowledged."""
        await self._waiting.join()

    async def run(self) -> None:
        """Send until cancelled. Raises what the producer raises; run again, it sends the same batch first.

        A batch whose acknowledgement was lost is then on the topic twice: better than a hole.
        """
        while True:
            self._batch = self._batch or await self._next_batch()
            await self._producer.publish_batch(self._partition, self._batch)
            self.acknowledged += len(self._batch)
            for _ in self._batch:
                self._waiting.task_done()
            self._batch = []

    async def _next_batch(self) -> list[NewRecord]:
        first = self._held or await self._waiting.get()
        self._held = None
        batch, size = [first], len(first.value or b"")
        while len(batch) < MAX_BATCH_RECORDS and not self._waiting.empty():
            record = self._waiting.get_nowait()
            size += len(record.value or b"")
            if size > MAX_BATCH_BYTES:
                self._held = record
                break
            batch.append(record)
        return batch
