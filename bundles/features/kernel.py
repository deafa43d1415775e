"""The compiled part of the features: plain functions of rows of ticks, until `compile_kernel` compiles them.

The constants live here because numba's cache looks at this file alone to see whether it is stale.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from bundles.compiled import compile_in_place

SCALE_EVENTS = 128

# Columns of a tick's row; TS holds the int64's bits.
TS, KIND, BID, BID_SIZE, ASK, ASK_SIZE, PRICE, SIGNED_SIZE = range(8)
COLUMNS = 8
IS_QUOTE, IS_TRADE, IS_BAR = 0.0, 1.0, 2.0

RETURN, SPREAD, MICROPRICE, QUEUE, FLOW, VOLATILITY, RATE, POSITION, UNREALIZED, HELD = range(10)
SPREAD_SCALE = 1e-4
VOLATILITY_SCALE = 5e-4
UNREALIZED_SCALE = 1e-3
RATE_SCALE = 10.0
HELD_SCALE_S = 60.0
CLIP = 10.0


def _quote_at(rows: Any, low: int, row: int) -> int:
    """Return the row whose quote holds at `row`: the last valid one, else the last bar, else -1."""
    bar = -1
    for at in range(row, low - 1, -1):
        if rows[at, KIND] == IS_QUOTE:
            if 0.0 < rows[at, BID] <= rows[at, ASK]:
                return at
        elif bar < 0 and rows[at, KIND] == IS_BAR:
            bar = at
    return bar


def _squared_returns(rows: Any, low: int, high: int, events: int) -> float:
    """Return the sum of the squared mid returns of the last `events` ticks; NaN without a quote before them."""
    start = high - 1 - events
    at = _quote_at(rows, low, start)
    if at < 0:
        return math.nan
    has_quote = rows[at, KIND] == IS_QUOTE
    mid = (rows[at, BID] + rows[at, ASK]) * 0.5
    total: float = 0.0
    for row in range(start + 1, high):
        kind = rows[row, KIND]
        if kind == IS_QUOTE:
            if not 0.0 < rows[row, BID] <= rows[row, ASK]:
                continue
            has_quote = True
        elif kind != IS_BAR or has_quote:
            continue
        new = (rows[row, BID] + rows[row, ASK]) * 0.5
        change: float = new / mid - 1.0
        total += change * change
        mid = new
    return total


def _trade_flow(rows: Any, high: int, events: int) -> float:
    signed: float = 0.0
    total: float = 0.0
    for row in range(high - events, high):
        signed += rows[row, SIGNED_SIZE]
        total += abs(rows[row, SIGNED_SIZE])
    return signed / total if total > 0.0 else 0.0


def _queue_imbalance(rows: Any, high: int, events: int) -> float:
    """Return the mean over the valid quotes among the last `events` ticks; NaN when there is none."""
    total: float = 0.0
    quotes = 0
    for row in range(high - events, high):
        if rows[row, KIND] == IS_QUOTE and 0.0 < rows[row, BID] <= rows[row, ASK]:
            sizes = rows[row, BID_SIZE] + rows[row, ASK_SIZE]
            if sizes > 0.0:
                total += (rows[row, BID_SIZE] - rows[row, ASK_SIZE]) / sizes
            quotes += 1
    return total / quotes if quotes else math.nan


def _rate(rows: Any, high: int, events: int) -> float:
    times = rows.view(np.int64)
    seconds: float = (times[high - 1, TS] - times[high - 1 - events, TS]) * 1e-9
    return events / (events + RATE_SCALE * max(seconds, 0.0))


def observe_one(  # noqa: C901, PLR0912 - one flat list of features, positional for numba
    rows: Any, low: int, high: int, codes: Any, events: Any, position: float, unrealized: float, held_s: float, out: Any
) -> bool:
    now = _quote_at(rows, low, high - 1)
    if now < 0:
        return False
    bid, ask, bid_size, ask_size = rows[now, BID], rows[now, ASK], rows[now, BID_SIZE], rows[now, ASK_SIZE]
    mid = (bid + ask) * 0.5
    sizes = bid_size + ask_size
    imbalance = (bid_size - ask_size) / sizes if sizes > 0.0 else 0.0
    deviation = -1.0  # of one tick's return; computed when the first feature asks for it
    for index in range(codes.shape[0]):
        code, window = codes[index], events[index]
        if deviation < 0.0 and code in (RETURN, MICROPRICE):
            deviation = math.sqrt(_squared_returns(rows, low, high, SCALE_EVENTS) / SCALE_EVENTS)
            if not deviation >= 0.0:
                return False
        value = 0.0
        if code == RETURN:
            then = _quote_at(rows, low, high - 1 - window)
            if then < 0:
                return False
            if deviation > 0.0:
                change = mid / ((rows[then, BID] + rows[then, ASK]) * 0.5) - 1.0
                value = min(max(change / (deviation * math.sqrt(window)), -CLIP), CLIP)
        elif code == SPREAD:
            spread = (ask - bid) / mid
            value = spread / (spread + SPREAD_SCALE)
        elif code == MICROPRICE:
            if deviation > 0.0:
                value = min(max((ask - bid) * 0.5 * imbalance / mid / deviation, -CLIP), CLIP)
        elif code == QUEUE:
            value = _queue_imbalance(rows, high, window)
            if math.isnan(value):
                value = imbalance
        elif code == FLOW:
            value = _trade_flow(rows, high, window)
        elif code == VOLATILITY:
            volatility = math.sqrt(_squared_returns(rows, low, high, window))
            value = volatility / (volatility + VOLATILITY_SCALE)
        elif code == RATE:
            value = _rate(rows, high, window)
        elif code == POSITION:
            value = position
        elif code == UNREALIZED:
            value = unrealized / (abs(unrealized) + UNREALIZED_SCALE)
        elif code == HELD:
            value = held_s / (held_s + HELD_SCALE_S)
        if not math.isfinite(value):
            return False
        out[index] = value
    return True


def observe_all(rows: Any, capacity: int, min_ticks: int, codes: Any, events: Any, out: Any, ready: Any) -> None:
    for row in range(min_ticks - 1, rows.shape[0]):
        low = max(0, row + 1 - capacity)
        ready[row] = observe_one(rows, low, row + 1, codes, events, 0.0, 0.0, 0.0, out[row])
        if not ready[row]:
            out[row] = 0.0


_ROWS = "float64[:, ::1]"
_PROGRAM = "int64[::1], int64[::1]"
_SIGNATURES = {
    "_quote_at": f"int64({_ROWS}, int64, int64)",
    "_squared_returns": f"float64({_ROWS}, int64, int64, int64)",
    "_trade_flow": f"float64({_ROWS}, int64, int64)",
    "_queue_imbalance": f"float64({_ROWS}, int64, int64)",
    "_rate": f"float64({_ROWS}, int64, int64)",
    "observe_one": f"boolean({_ROWS}, int64, int64, {_PROGRAM}, float64, float64, float64, float32[::1])",
    "observe_all": f"void({_ROWS}, int64, int64, {_PROGRAM}, float32[:, ::1], boolean[::1])",
}  # callees first


@cache
def compile_kernel() -> tuple[Callable[..., bool], Callable[..., None]]:
    """Compile the functions of this module in place and return (observe_one, observe_all)."""
    compile_in_place(globals(), _SIGNATURES)
    return globals()["observe_one"], globals()["observe_all"]
