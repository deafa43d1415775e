"""Recorded ticks made ready for an environment: what is seen at each quote, and where an order would be filled."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.risk.instruments import Instrument
from bundles.features import (
    ASK,
    ASK_SIZE,
    BID,
    BID_SIZE,
    IS_BAR,
    IS_QUOTE,
    KIND,
    PRICE,
    SIGNED_SIZE,
    TS,
    Floats32,
    Observer,
    Rows,
)
from messages import Refused

MIN_QUOTES = 32

Floats = npt.NDArray[np.float64]


class NotEnoughTicks(Refused):
    """Raised when there are too few ticks to train or evaluate on."""

    def __init__(self, instrument: str, found: int, needed: int) -> None:
        super().__init__(f"{instrument}: {found} usable quotes, at least {needed} are needed; collect more market data")
        self.instrument, self.found, self.needed = instrument, found, needed


class Market(NamedTuple):
    """One instrument's usable quotes: valid, and with an observation. All arrays have one entry for each.

    `fill` is the index of the first quote after it that is at least the latency later, or the number of quotes.
    """

    instrument: Instrument
    observations: Floats32
    bid: Floats
    ask: Floats
    mid: Floats
    ts_ns: npt.NDArray[np.int64]
    fill: npt.NDArray[np.int64]

    def part(self, low: int, high: int) -> "Market":
        """Return the quotes [low, high); fills stay inside."""
        cut = slice(low, high)
        fill = np.minimum(self.fill[cut], high) - low
        arrays = (self.observations[cut], self.bid[cut], self.ask[cut], self.mid[cut], self.ts_ns[cut], fill)
        return Market(self.instrument, *arrays)


def check_size(market: Market) -> None:
    """Raise NotEnoughTicks when the market has fewer than 32 usable quotes."""
    if len(market.mid) < MIN_QUOTES:
        raise NotEnoughTicks(market.instrument.instrument, len(market.mid), MIN_QUOTES)


def times_ns(rows: Rows) -> npt.NDArray[np.int64]:
    """Return the receive times of tick rows."""
    return np.ascontiguousarray(rows).view(np.int64)[:, TS]


def prepare(rows: Rows, instrument: Instrument, observer: Observer, latency_ns: int) -> Market:
    """Return the market of tick rows [T, COLUMNS] in the order of their arrival.

    Where there are only bars, each counts as a quote one price step to either side of its close.
    """
    observations, ready = observer.observe_all(rows)
    is_priced = rows[:, KIND] == IS_QUOTE
    bid, ask = rows[:, BID], rows[:, ASK]
    if not is_priced.any():
        is_priced = rows[:, KIND] == IS_BAR
        bid, ask = bid - instrument.price_step, ask + instrument.price_step
    usable = np.flatnonzero(is_priced & (bid > 0) & (bid <= ask) & ready)
    ts_ns = times_ns(rows)[usable]
    # Receive times may step back; an order can't be filled at or before the quote that it answers.
    latest = np.maximum.accumulate(ts_ns) if ts_ns.size else ts_ns
    fill = np.maximum(np.searchsorted(latest, ts_ns + latency_ns, side="left"), np.arange(len(usable)) + 1)
    return Market(
        instrument=instrument,
        observations=observations[usable],
        bid=bid[usable].copy(),
        ask=ask[usable].copy(),
        mid=(bid[usable] + ask[usable]) * 0.5,
        ts_ns=ts_ns,
        fill=fill.astype(np.int64),
    )


def mirrored(rows: Rows) -> Rows:
    """Return the upside-down market: prices p become c * c / p, bids asks, buyers sellers. Times stay."""
    out: Any = rows.copy()
    prices = np.concatenate([rows[rows[:, column] > 0, column] for column in (BID, ASK, PRICE)])
    square = float(np.median(prices)) ** 2 if prices.size else 1.0
    for source, target in ((BID, ASK), (ASK, BID), (PRICE, PRICE)):
        out[:, target] = np.divide(square, rows[:, source], out=np.zeros(len(rows)), where=rows[:, source] > 0)
    out[:, BID_SIZE], out[:, ASK_SIZE] = rows[:, ASK_SIZE], rows[:, BID_SIZE]
    out[:, SIGNED_SIZE] = -rows[:, SIGNED_SIZE]
    return out  # type: ignore[no-any-return]
