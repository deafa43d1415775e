"""Recorded ticks made ready for an environment: what is seen at each quote, and where an order would be filled."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.risk.instruments import GRID_TOLERANCE, MAX_STEPS, Instrument
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
    Floats32,
    Observer,
    Rows,
    times_ns,
)
from messages import Refused

MIN_QUOTES = 32

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class NotEnoughTicks(Refused):
    """Raised when there are too few ticks to train or evaluate on."""

    def __init__(self, instrument: str, found: int, needed: int) -> None:
        super().__init__(f"{instrument}: {found} usable quotes, at least {needed} are needed; collect more market data")
        self.instrument, self.found, self.needed = instrument, found, needed


class Market(NamedTuple):
    """One instrument's usable quotes: valid, and with an observation. All arrays have one entry for each.

    `fill` is the index of the first quote after it that is at least the latency later, or the number of quotes. `bid`
    and `ask` are what is paid; execution's touch is `margin` inside of them, which is 0 where there are quotes.
    `has_bid`, `has_ask`: whether a lot or more was to be had there.
    """

    instrument: Instrument
    observations: Floats32
    bid: Floats
    ask: Floats
    mid: Floats
    ts_ns: npt.NDArray[np.int64]
    fill: npt.NDArray[np.int64]
    has_bid: Flags
    has_ask: Flags
    margin: float

    def part(self, low: int, high: int) -> "Market":
        """Return the quotes [low, high); fills stay inside."""
        cut = slice(low, high)
        fill = np.minimum(self.fill[cut], high) - low
        return self._replace(
            observations=self.observations[cut],
            bid=self.bid[cut],
            ask=self.ask[cut],
            mid=self.mid[cut],
            ts_ns=self.ts_ns[cut],
            fill=fill,
            has_bid=self.has_bid[cut],
            has_ask=self.has_ask[cut],
        )


def check_size(market: Market) -> None:
    """Raise NotEnoughTicks when the market has fewer than 32 usable quotes."""
    if len(market.mid) < MIN_QUOTES:
        raise NotEnoughTicks(market.instrument.instrument, len(market.mid), MIN_QUOTES)


def readable(rows: Rows, instrument: Instrument) -> Rows:
    """Return the tick rows without those that Execution refuses: a price off the grid, or numbers beyond it."""
    is_quote = rows[:, KIND] == IS_QUOTE
    prices = np.where(is_quote[:, None], rows[:, [BID, ASK]], rows[:, [PRICE]])
    steps = prices / instrument.price_step
    tolerance = GRID_TOLERANCE * np.maximum(1.0, np.abs(steps) * 1e-6)
    is_on_grid = (np.abs(steps - np.round(steps)) <= tolerance) & (np.abs(steps) <= MAX_STEPS)
    sizes = np.maximum(np.maximum(rows[:, BID_SIZE], rows[:, ASK_SIZE]), np.abs(rows[:, SIGNED_SIZE]))
    is_sized = sizes <= MAX_STEPS * instrument.quantity_step
    return rows[is_on_grid.all(axis=1) & is_sized]


def prepare(rows: Rows, instrument: Instrument, observer: Observer, latency_ns: int) -> Market:
    """Return the market of tick rows [T, COLUMNS] in the order of their arrival.

    Where there are only bars, each counts as a quote one price step to either side of its close.
    """
    observations, ready = observer.observe_all(rows)
    is_priced = rows[:, KIND] == IS_QUOTE
    margin = 0.0
    if not is_priced.any():
        is_priced = rows[:, KIND] == IS_BAR
        margin = instrument.price_step
    bid, ask = rows[:, BID] - margin, rows[:, ASK] + margin
    usable = np.flatnonzero(is_priced & (bid > 0) & (bid <= ask) & ready)
    ts_ns = times_ns(rows)[usable]
    lot = instrument.quantity_step * (1 - GRID_TOLERANCE)
    return Market(
        instrument=instrument,
        observations=observations[usable],
        bid=bid[usable],
        ask=ask[usable],
        mid=(bid[usable] + ask[usable]) * 0.5,
        ts_ns=ts_ns,
        fill=_fills(ts_ns, latency_ns),
        has_bid=(rows[usable, BID_SIZE] >= lot) | (margin > 0),
        has_ask=(rows[usable, ASK_SIZE] >= lot) | (margin > 0),
        margin=margin,
    )


def _fills(ts_ns: npt.NDArray[np.int64], latency_ns: int) -> npt.NDArray[np.int64]:
    """Return for each time the index of the first later entry that is at least the latency younger, else their number.

    Receive times may step back; an order can't be filled at or before the quote that it answers.
    """
    latest = np.maximum.accumulate(ts_ns) if ts_ns.size else ts_ns
    fill = np.maximum(np.searchsorted(latest, ts_ns + latency_ns, side="left"), np.arange(len(ts_ns)) + 1)
    due = np.append(ts_ns, np.iinfo(np.int64).max)[fill]
    for index in np.flatnonzero(due < ts_ns + latency_ns):  # what comes next is from before it: a clock stepped back
        late = np.flatnonzero(ts_ns[fill[index] :] >= ts_ns[index] + latency_ns)
        fill[index] = fill[index] + late[0] if late.size else len(ts_ns)
    return fill.astype(np.int64)


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
