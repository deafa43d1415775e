"""Which steps still have to be logged, and where: in the header of the next orders, then on `decisions`."""

from collections import deque
from collections.abc import Iterable, Sequence

from msgspec import Struct

from messages import DecisionBatch, LoggedStep, encode

LOGIC_VERSION = 4
MAX_PENDING_BYTES = 512 * 1024
MAX_FLUSH_BYTES = 768 * 1024
_TAIL = b"]}"


class Entry(Struct, frozen=True, kw_only=True):
    """A step as it goes into batches: encoded once, used in the header and on `decisions`."""

    n: int
    encoded: bytes


class Journal:
    """The steps of one owner of one shard that are not yet acknowledged on `decisions`.

    A batch of orders carries, in the header of its first record, all steps since the last such batch or the last
    acknowledged flush. A step is flushed to `decisions` only after its orders, and all orders before it, are
    acknowledged: so an order in `decisions` is on `orders`.
    """

    def __init__(self, *, partition: int, epoch: int, next_step: int) -> None:
        empty = DecisionBatch(partition=partition, epoch=epoch, logic_version=LOGIC_VERSION, steps=())
        self._head = encode(empty).removesuffix(_TAIL)
        self._entries: deque[Entry] = deque()
        self._pending_bytes = 0
        self._carried_to = next_step
        self._unsent: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def has_room(self) -> bool:
        """Whether the next header is sure to fit into a batch: too much must be flushed first."""
        return self._pending_bytes < MAX_PENDING_BYTES

    def add(self, logged: LoggedStep) -> bytes | None:
        """Take the next step; return the log header when it has orders, which must then be sent in this order.

        Raises NotFinite, with nothing taken, when a number in the step is NaN or infinite.
        """
        entry = Entry(n=logged.step.n, encoded=encode(logged))
        self._entries.append(entry)
        self._pending_bytes += len(entry.encoded)
        if not logged.orders:
            return None
        header = self.batch(entry for entry in self._entries if entry.n >= self._carried_to)
        self._carried_to = entry.n + 1
        self._unsent.append(entry.n)
        return header

    def orders_acknowledged(self, n: int) -> None:
        """The orders of step `n` are on the topic; batches are acknowledged in the order they were made."""
        if not self._unsent or self._unsent[0] != n:
            raise ValueError(f"orders of step {n} acknowledged out of turn; waiting for {list(self._unsent)[:3]}")
        self._unsent.popleft()

    def flushable(self) -> list[Sequence[Entry]]:
        """Return the steps that may go to `decisions` now, in groups that each fit into one record."""
        barrier = self._unsent[0] if self._unsent else None
        return grouped(entry for entry in self._entries if barrier is None or entry.n < barrier)

    def first_pending(self, default: int) -> int:
        """Return the first step that is not acknowledged on `decisions`, or `default`."""
        return self._entries[0].n if self._entries else default

    def batch(self, entries: Iterable[Entry]) -> bytes:
        """Return the bytes of a DecisionBatch of these steps under this owner's epoch."""
        return self._head + b",".join(entry.encoded for entry in entries) + _TAIL

    def decisions_acknowledged(self, n: int) -> None:
        """All steps up to and including `n` are on `decisions`."""
        while self._entries and self._entries[0].n <= n:
            self._pending_bytes -= len(self._entries.popleft().encoded)
        self._carried_to = max(self._carried_to, n + 1)


def entries_of(steps: Iterable[LoggedStep]) -> list[Entry]:
    """Return steps that were logged elsewhere as entries."""
    return [Entry(n=logged.step.n, encoded=encode(logged)) for logged in steps]


def grouped(entries: Iterable[Entry]) -> list[Sequence[Entry]]:
    """Cut entries into groups of at most MAX_FLUSH_BYTES."""
    groups: list[Sequence[Entry]] = []
    group: list[Entry] = []
    size = 0
    for entry in entries:
        if group and size + len(entry.encoded) > MAX_FLUSH_BYTES:
            groups.append(group)
            group, size = [], 0
        group.append(entry)
        size += len(entry.encoded)
    return [*groups, group] if group else groups
