"""The ring of recent ticks: the only state that features have."""

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from bundles.features.kernel import COLUMNS, IS_BAR, IS_QUOTE, IS_TRADE, TS
from messages import Bar, Observation, Quote, Trade

RING_TICKS = 512
_BLOCK_TICKS = 4096

Rows = np.ndarray[Any, np.dtype[np.float64]]


class TickRing:
    """The last `capacity` ticks of one instrument, oldest first in one block of rows. A push is O(1) amortised."""

    __slots__ = ("_buffer", "_end", "_pack", "_rows", "capacity")

    def __init__(self, capacity: int = RING_TICKS) -> None:
        self.capacity = capacity
        # Twice the room: the window stays contiguous, and moving it back costs one copy per `capacity` pushes.
        self._rows: Rows = np.zeros((2 * capacity, COLUMNS))
        self._buffer = memoryview(self._rows.data).cast("B")
        self._pack = struct.Struct("=q7d").pack_into
        self._end = 0

    def __len__(self) -> int:
        """Return how many ticks it holds."""
        return min(self._end, self.capacity)

    @property
    def window(self) -> tuple[Rows, int, int]:
        """Return (rows, low, high): the ticks are rows[low:high]. Valid until the next push."""
        high = self._end
        low = high - self.capacity
        return self._rows, low if low > 0 else 0, high  # noqa: FURB136 - a call of max costs as much as all the rest

    def rows(self) -> Rows:
        """Return a copy of the ticks, [n, COLUMNS], oldest first."""
        rows, low, high = self.window
        return rows[low:high].copy()

    def push(self, message: Quote | Trade | Bar) -> None:
        """Add a market message of this ring's instrument."""
        kind = type(message)
        if kind is Quote:
            self.push_quote(message.ts_recv, message.bid, message.bid_size, message.ask, message.ask_size)  # type: ignore[union-attr]
        elif kind is Trade:
            aggressor = message.aggressor  # type: ignore[union-attr]
            side = 0 if aggressor is None else 1 if aggressor == "buy" else -1
            self.push_trade(message.ts_recv, message.price, message.size, side)  # type: ignore[union-attr]
        else:
            self.push_bar(message.ts_recv, message.close, message.volume)  # type: ignore[union-attr]

    def push_quote(self, ts_ns: int, bid: float, bid_size: float, ask: float, ask_size: float) -> None:
        """Add a quote as it came, valid or not."""
        end = self._end if self._end < len(self._rows) else self._make_room()
        self._pack(self._buffer, end * 64, ts_ns, IS_QUOTE, bid, bid_size, ask, ask_size, 0.0, 0.0)
        self._end = end + 1

    def push_trade(self, ts_ns: int, price: float, size: float, side: int) -> None:
        """Add a trade; `side` is the aggressor's: +1 bought, -1 sold, 0 unknown (then it adds no flow)."""
        end = self._end if self._end < len(self._rows) else self._make_room()
        self._pack(self._buffer, end * 64, ts_ns, IS_TRADE, 0.0, size, 0.0, size, price, side * size)
        self._end = end + 1

    def push_bar(self, ts_ns: int, close: float, volume: float = 0.0) -> None:
        """Add a bar at its close."""
        end = self._end if self._end < len(self._rows) else self._make_room()
        self._pack(self._buffer, end * 64, ts_ns, IS_BAR, close, volume, close, volume, close, 0.0)
        self._end = end + 1

    def _make_room(self) -> int:
        self._rows[: self.capacity] = self._rows[self._end - self.capacity : self._end]
        self._end = self.capacity
        return self._end


def tick_rows(messages: Iterable[Quote | Trade | Bar | Observation]) -> dict[str, Rows]:
    """Return the ticks of each instrument, [n, COLUMNS], in the order given: the input of `Observer.observe_all`.

    Observations are no ticks.
    """
    blocks: dict[str, list[TickRing]] = {}
    for message in messages:
        if isinstance(message, Observation):
            continue
        rings = blocks.setdefault(message.instrument, [])
        if not rings or len(rings[-1]) == rings[-1].capacity:
            rings.append(TickRing(_BLOCK_TICKS))
        rings[-1].push(message)
    return {name: np.concatenate([ring.rows() for ring in rings]) for name, rings in blocks.items()}


def times_ns(rows: Rows) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the receive times of tick rows, ns."""
    return np.ascontiguousarray(rows).view(np.int64)[:, TS]
