"""Streams of ticks full of what feeds send on bad days, and specs that leave no feature out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from bundles.features import Feature, FeatureSpec, Floats32, Observer, TickRing
from bundles.features.library import KINDS
from messages import Bar, Quote, Trade
from messages.fields import Side

Message = Quote | Trade | Bar
CAPACITY = 300  # a smaller ring than the real one: more of a stream's ticks have left it
VALUES = {"events": (1, 16, 256), "ms": (1, 40, 60_000), "scale_ms": (5, 1_000), "period_s": (1, 604_800)}
ACCOUNT = ("position", "unrealized", "held")

EVERY_FEATURE = FeatureSpec(
    features=tuple(
        Feature(name=name, params=params)
        for name, kind in KINDS.items()
        for params in ([{key: value} for key in kind.params for value in VALUES[key]] or [{}])
    )
)


def quote(ts: int, bid: float, ask: float, bid_size: float = 5, ask_size: float = 3) -> Quote:
    return Quote(instrument="X", ts_recv=ts, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size)


def walk(ticks: int, seed: int = 0, *, oddity: float = 0.3, trades: float = 0.2, bars: float = 0.05) -> list[Message]:
    """A random walk on a grid of 0.5. A share `oddity` of its quotes is locked, crossed, zero or repeated, and as many
    times stand still or step back.
    """
    rng = np.random.default_rng(seed)
    sides: tuple[Side | None, ...] = ("buy", "sell", None)
    mid, ts = 5_000.0, 10**15
    messages: list[Message] = []
    last = quote(ts, 4_999.5, 5_000.5)
    for n in range(ticks):
        mid += round(rng.normal()) * 0.5
        ts = max(0, ts + int(rng.integers(-3, 1) if rng.random() < oddity else rng.exponential(4)) * 1_000_000)
        size, draw = float(rng.integers(0, 9)), rng.random()
        if draw < trades:
            messages.append(Trade(instrument="X", ts_recv=ts, price=mid, size=size + 1, aggressor=sides[n % 3]))
        elif draw < trades + bars:
            messages.append(Bar(instrument="X", ts_recv=ts, open=mid, high=mid, low=mid, close=mid, volume=size))
        else:
            half = float(rng.integers(1, 3)) * 0.5
            bid, ask = mid - half, mid + half
            if rng.random() < oddity:
                odd = ((mid, mid), (ask, bid), (0.0, ask), (0.0, 0.0), (-1.0, ask), (last.bid, last.ask))
                bid, ask = odd[int(rng.integers(len(odd)))]
            last = quote(ts, bid, ask, size, float(rng.integers(0, 9)))
            messages.append(last)
    return messages


class Stream(NamedTuple):
    """How a walk is made: small enough for Hypothesis to print and to shrink."""

    ticks: int
    seed: int
    oddity: float = 0.3
    trades: float = 0.2
    bars: float = 0.05

    @property
    def messages(self) -> list[Message]:
        """The walk."""
        return walk(self.ticks, self.seed, oddity=self.oddity, trades=self.trades, bars=self.bars)


def streams(least: int = 200, most: int = 900) -> st.SearchStrategy[Stream]:
    """Walks of any make: nothing but oddities, no trades, bars alone, ..."""
    share = st.sampled_from([0.0, 0.1, 0.5, 1.0])
    return st.builds(Stream, st.integers(least, most), st.integers(0, 2**31), share, share, share)


def rows_of(messages: Sequence[Message]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    ring = TickRing(max(len(messages), 1))
    for message in messages:
        ring.push(message)
    return ring.rows()


def observed(messages: Sequence[Message], observer: Observer, capacity: int = CAPACITY) -> Floats32:
    """What a ring shows after each message, with zeros where that is nothing; flat account."""
    ring = TickRing(capacity)
    rows = np.zeros((len(messages), observer.size), dtype=np.float32)
    for index, message in enumerate(messages):
        ring.push(message)
        if not observer.observe(ring, rows[index], 0.0, 0.0, 0):
            rows[index] = 0.0
    return rows
