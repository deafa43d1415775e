"""One partition of the in-memory bus."""

import asyncio
import itertools

from messages.bus.protocol import NewRecord, Record


class Log:
    """One partition's records, who waits for more, and the newest producer epochs that it has seen."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.readers: set[asyncio.Future[bool]] = set()
        self.end = 0
        self.epochs: dict[str, int] = {}

    def append(self, record: Record) -> None:
        self.records.append(record)
        self.end = record.offset + 1
        self.wake()

    def wake(self) -> None:
        for reader in self.readers:
            if not reader.done():
                reader.set_result(True)

    def start(self) -> int:
        return self.records[0].offset if self.records else self.end

    def read(self, offset: int, limit: int) -> list[Record]:
        low = max(0, offset - self.start())
        if len(self.records) == self.end - self.start():
            return self.records[low : low + limit]
        return list(itertools.islice((record for record in self.records if record.offset >= offset), limit))


def size_bytes(record: NewRecord) -> int:
    """Return what a record adds to a batch."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
