"""One partition of the in-memory bus."""

import asyncio
import bisect
from collections.abc import Sequence
from operator import attrgetter

from messages.bus.protocol import NewRecord, Record

_offset, _timestamp_ms = attrgetter("offset"), attrgetter("timestamp_ms")


class Log:
    """One partition's records, who waits for more (woken in the order of waiting), and the newest producer epochs."""

    def __init__(self, topic: str, number: int) -> None:
        self.topic, self.number = topic, number
        self.records: list[Record] = []
        self.readers: dict[asyncio.Future[bool], None] = {}
        self.end = 0
        self.epochs: dict[str, int] = {}

    def append(self, records: Sequence[NewRecord], timestamp_ms: int) -> int:
        """Append a batch, wake who waits, and return the batch's first offset."""
        first = self.end
        for offset, record in enumerate(records, first):
            self.records.append(
                Record(
                    topic=self.topic,
                    partition=self.number,
                    offset=offset,
                    timestamp_ms=timestamp_ms,
                    key=record.key,
                    value=record.value,
                    headers=record.headers,
                )
            )
        self.end = first + len(records)
        for reader in self.readers:
            if not reader.done():
                reader.set_result(True)
        return first

    def start(self) -> int:
        """Return the first offset that is still there."""
        return self.records[0].offset if self.records else self.end

    def at(self, timestamp_ms: int) -> int:
        """Return the offset of the first record of that time or later; the end when there is none."""
        index = bisect.bisect_left(self.records, timestamp_ms, key=_timestamp_ms)
        return self.records[index].offset if index < len(self.records) else self.end

    def read(self, offset: int, limit: int) -> list[Record]:
        """Return at most `limit` records from `offset` on."""
        records = self.records
        start = self.start()
        is_dense = len(records) == self.end - start
        low = max(0, offset - start) if is_dense else bisect.bisect_left(records, offset, key=_offset)
        return records[low : low + limit]


def size_bytes(record: NewRecord) -> int:
    """Return what a record adds to a batch."""
    size = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += sum(len(name) + len(value) for name, value in record.headers)
    return size
