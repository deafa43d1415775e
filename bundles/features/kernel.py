"""The compiled part of the features: plain functions of rows of ticks, until `compile_kernel` compiles them.

A window is [start, high): the newest `events` ticks, or those younger than so many ns; the tick before it is in the
ring too. The constants live here because numba's cache looks at this file alone to see whether it is stale.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from bundles.compiled import compile_in_place

SCALE_EVENTS = 128

# Columns of a tick's row; TS holds the int64's bits. A trade's or bar's size stands in both columns of sizes.
TS, KIND, BID, BID_SIZE, ASK, ASK_SIZE, PRICE, SIGNED_SIZE = range(8)
COLUMNS = 8
IS_QUOTE, IS_TRADE, IS_BAR = 0.0, 1.0, 2.0

RETURN, SPREAD, MICROPRICE, QUEUE, FLOW, VOLATILITY, RATE, POSITION, UNREALIZED, HELD = range(10)
ORDER_FLOW, MEAN, VWAP, RANGE, TREND, SPREAD_RATIO, DEPTH_RATIO, VOLUME_RATIO = range(10, 18)
GAP, SINCE_TRADE, SINCE_MOVE, CLOCK_SINE, CLOCK_COSINE = range(18, 23)
USER = 23  # computed elsewhere
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


def _younger_than(rows: Any, low: int, high: int, age_ns: int) -> int:
    """Return the start of the window that ends at the newest tick and at the first one of that age or older.

    It begins behind the first price in the ring, so that there is one before it, and always holds the newest tick.
    """
    first = low
    while first < high - 1:
        kind = rows[first, KIND]
        if kind == IS_BAR or (kind == IS_QUOTE and 0.0 < rows[first, BID] <= rows[first, ASK]):
            break
        first += 1
    times = rows.view(np.int64)
    since = times[high - 1, TS] - age_ns
    start = high - 1
    while start > first + 1 and times[start - 1, TS] > since:
        start -= 1
    return start


def _squared_returns(rows: Any, low: int, start: int, high: int) -> float:
    """Return the sum of the squared mid returns of the window's ticks; NaN without a quote before them."""
    at = _quote_at(rows, low, start - 1)
    if at < 0:
        return math.nan
    has_quote = rows[at, KIND] == IS_QUOTE
    mid = (rows[at, BID] + rows[at, ASK]) * 0.5
    total: float = 0.0
    for row in range(start, high):
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


def _path(rows: Any, low: int, start: int, high: int) -> tuple[float, float, float, float, float, float, float]:
    """Return of the mids that held: the one before, mean, lowest, highest, how far they went; mean spread, mean size.

    Means are over the window's ticks; the rest counts the mid before too. NaN without a quote before.
    """
    at = _quote_at(rows, low, start - 1)
    if at < 0:
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
    has_quote = rows[at, KIND] == IS_QUOTE
    first: float = (rows[at, BID] + rows[at, ASK]) * 0.5
    mid = lowest = highest = first
    mids: float = 0.0
    travelled: float = 0.0
    spreads: float = 0.0
    sizes: float = 0.0
    for row in range(start, high):
        kind = rows[row, KIND]
        is_price = kind == IS_BAR and not has_quote
        if kind == IS_QUOTE and 0.0 < rows[row, BID] <= rows[row, ASK]:
            is_price = has_quote = True
        if is_price:
            at = row
            new = (rows[row, BID] + rows[row, ASK]) * 0.5
            travelled += abs(new - mid)
            mid, lowest, highest = new, min(lowest, new), max(highest, new)
        mids += mid
        spreads += (rows[at, ASK] - rows[at, BID]) / mid
        sizes += rows[at, BID_SIZE] + rows[at, ASK_SIZE]
    ticks = high - start
    return first, mids / ticks, lowest, highest, travelled, spreads / ticks, sizes / ticks


def _order_flow(rows: Any, low: int, start: int, high: int) -> float:
    """Return the order-flow imbalance of the window's quotes over the sum of its terms' magnitudes."""
    before = _quote_at(rows, low, start - 1)
    if before >= 0 and rows[before, KIND] != IS_QUOTE:
        before = -1
    signed: float = 0.0
    total: float = 0.0
    for row in range(start, high):
        if rows[row, KIND] != IS_QUOTE or not 0.0 < rows[row, BID] <= rows[row, ASK]:
            continue
        if before >= 0:
            term: float = 0.0
            if rows[row, BID] >= rows[before, BID]:
                term += rows[row, BID_SIZE]
            if rows[row, BID] <= rows[before, BID]:
                term -= rows[before, BID_SIZE]
            if rows[row, ASK] <= rows[before, ASK]:
                term -= rows[row, ASK_SIZE]
            if rows[row, ASK] >= rows[before, ASK]:
                term += rows[before, ASK_SIZE]
            signed += term
            total += abs(term)
        before = row
    return signed / total if total > 0.0 else 0.0


def _volume(rows: Any, start: int, high: int) -> float:
    """Return what the window's trades and bars have traded, a tick."""
    total: float = 0.0
    for row in range(start, high):
        if rows[row, KIND] != IS_QUOTE:
            total += rows[row, BID_SIZE]
    return total / (high - start)


def _average_price(rows: Any, start: int, high: int) -> float:
    """Return the volume-weighted price of the window's trades and bars; 0 when nothing was traded."""
    volume: float = 0.0
    value: float = 0.0
    for row in range(start, high):
        if rows[row, KIND] != IS_QUOTE:
            volume += rows[row, BID_SIZE]
            value += rows[row, BID_SIZE] * rows[row, PRICE]
    return value / volume if volume > 0.0 else 0.0


def _trade_flow(rows: Any, start: int, high: int) -> float:
    signed: float = 0.0
    total: float = 0.0
    for row in range(start, high):
        signed += rows[row, SIGNED_SIZE]
        total += abs(rows[row, SIGNED_SIZE])
    return signed / total if total > 0.0 else 0.0


def _queue_imbalance(rows: Any, start: int, high: int) -> float:
    """Return the mean over the window's valid quotes; NaN when there is none."""
    total: float = 0.0
    quotes = 0
    for row in range(start, high):
        if rows[row, KIND] == IS_QUOTE and 0.0 < rows[row, BID] <= rows[row, ASK]:
            sizes = rows[row, BID_SIZE] + rows[row, ASK_SIZE]
            if sizes > 0.0:
                total += (rows[row, BID_SIZE] - rows[row, ASK_SIZE]) / sizes
            quotes += 1
    return total / quotes if quotes else math.nan


def _rate(rows: Any, start: int, high: int) -> float:
    times = rows.view(np.int64)
    events = high - start
    seconds: float = (times[high - 1, TS] - times[start - 1, TS]) * 1e-9
    return events / (events + RATE_SCALE * max(seconds, 0.0))


def _since(rows: Any, low: int, high: int, code: int, now: int, scale_ns: int) -> float:
    """Return t / (t + scale), t = time since the tick before, the last trade, or the mid's last change; 1: never."""
    since = -1
    if code == GAP:
        since = high - 2
    elif code == SINCE_TRADE:
        for row in range(high - 1, low - 1, -1):
            if rows[row, KIND] == IS_TRADE:
                since = row
                break
    else:
        since = now
        mid = rows[now, BID] + rows[now, ASK]
        for row in range(now - 1, low - 1, -1):
            if rows[row, KIND] == rows[now, KIND] and 0.0 < rows[row, BID] <= rows[row, ASK]:
                if rows[row, BID] + rows[row, ASK] != mid:
                    break
                since = row
    if since < 0:
        return 1.0
    times = rows.view(np.int64)
    elapsed: float = max(times[high - 1, TS] - times[since, TS], 0)
    return elapsed / (elapsed + scale_ns)


def _wave(ts_ns: int, period_ns: int, lead: float) -> float:
    """Return about sin(2 pi (t / period + lead)), at most 0.0011 off: two parabolas, and a share of their squares."""
    phase: float = (ts_ns % period_ns) / period_ns + lead
    if phase >= 1.0:
        phase -= 1.0
    arc: float = 16.0 * phase * (0.5 - phase) if phase < 0.5 else 16.0 * (phase - 0.5) * (phase - 1.0)
    return 0.775 * arc + 0.225 * arc * abs(arc)


def _share(part: float, other: float) -> float:
    return part / (part + other) if part + other > 0.0 else 0.5


def observe_one(  # noqa: C901, PLR0912, PLR0915 - one flat list of features, positional for numba
    rows: Any,
    low: int,
    high: int,
    program: Any,
    position: float,
    unrealized: float,
    held_s: float,
    out: Any,
) -> bool:
    now = _quote_at(rows, low, high - 1)
    if now < 0:
        return False
    bid, ask, bid_size, ask_size = rows[now, BID], rows[now, ASK], rows[now, BID_SIZE], rows[now, ASK_SIZE]
    mid = (bid + ask) * 0.5
    sizes = bid_size + ask_size
    imbalance = (bid_size - ask_size) / sizes if sizes > 0.0 else 0.0
    squares = deviation = -1.0  # of the last ticks' returns; computed when the first feature asks for them
    for index in range(program.shape[0]):
        code, window = program[index, 0], program[index, 1]
        start = high - window if window >= 0 else _younger_than(rows, low, high, -window)
        if deviation < 0.0 and code in (RETURN, MICROPRICE, MEAN, VWAP):
            squares = _squared_returns(rows, low, high - SCALE_EVENTS, high)
            deviation = math.sqrt(squares / SCALE_EVENTS)
            if not deviation >= 0.0:
                return False
        value = 0.0
        if code == RETURN:
            then = _quote_at(rows, low, start - 1)
            if then < 0:
                return False
            if deviation > 0.0:
                change = mid / ((rows[then, BID] + rows[then, ASK]) * 0.5) - 1.0
                value = min(max(change / (deviation * math.sqrt(high - start)), -CLIP), CLIP)
        elif code == SPREAD:
            spread = (ask - bid) / mid
            value = spread / (spread + SPREAD_SCALE)
        elif code == MICROPRICE:
            if deviation > 0.0:
                value = min(max((ask - bid) * 0.5 * imbalance / mid / deviation, -CLIP), CLIP)
        elif code == QUEUE:
            value = _queue_imbalance(rows, start, high)
            if math.isnan(value):
                value = imbalance
        elif code == FLOW:
            value = _trade_flow(rows, start, high)
        elif code == VOLATILITY:
            is_same = deviation >= 0.0 and high - start == SCALE_EVENTS
            volatility = math.sqrt(squares if is_same else _squared_returns(rows, low, start, high))
            value = volatility / (volatility + VOLATILITY_SCALE)
        elif code == RATE:
            value = _rate(rows, start, high)
        elif code == POSITION:
            value = position
        elif code == UNREALIZED:
            value = unrealized / (abs(unrealized) + UNREALIZED_SCALE)
        elif code == HELD:
            value = held_s / (held_s + HELD_SCALE_S)
        elif code == ORDER_FLOW:
            value = _order_flow(rows, low, start, high)
        elif code in (MEAN, VWAP):
            average = _path(rows, low, start, high)[1] if code == MEAN else _average_price(rows, start, high)
            if math.isnan(average):
                return False
            if deviation > 0.0 and average > 0.0:
                change = mid / average - 1.0
                value = min(max(change / (deviation * math.sqrt(high - start)), -CLIP), CLIP)
        elif RANGE <= code <= DEPTH_RATIO:
            first, _, lowest, highest, travelled, spreads, depth = _path(rows, low, start, high)
            if math.isnan(first):
                return False
            if code == RANGE:
                value = (mid - lowest) / (highest - lowest) * 2.0 - 1.0 if highest > lowest else 0.0
            elif code == TREND:
                value = (mid - first) / travelled if travelled > 0.0 else 0.0
            elif code == SPREAD_RATIO:
                value = _share((ask - bid) / mid, spreads)
            else:
                value = _share(sizes, depth)
        elif code == VOLUME_RATIO:
            value = _share(_volume(rows, start, high), _volume(rows, low, high))
        elif code in (CLOCK_SINE, CLOCK_COSINE):
            value = _wave(rows.view(np.int64)[high - 1, TS], window, 0.25 if code == CLOCK_COSINE else 0.0)
        elif code != USER:
            value = _since(rows, low, high, code, now, window)
        if not math.isfinite(value):
            return False
        out[index] = value
    return True


def observe_all(rows: Any, capacity: int, min_ticks: int, program: Any, out: Any, ready: Any) -> None:
    for row in range(min_ticks - 1, rows.shape[0]):
        low = max(0, row + 1 - capacity)
        ready[row] = observe_one(rows, low, row + 1, program, 0.0, 0.0, 0.0, out[row])
        if not ready[row]:
            out[row] = 0.0


_ROWS = "float64[:, ::1]"
_PROGRAM = "int64[:, ::1]"
_FLOAT7 = f"Tuple(({', '.join(['float64'] * 7)}))"
_SIGNATURES = {
    "_quote_at": f"int64({_ROWS}, int64, int64)",
    "_younger_than": f"int64({_ROWS}, int64, int64, int64)",
    "_squared_returns": f"float64({_ROWS}, int64, int64, int64)",
    "_path": f"{_FLOAT7}({_ROWS}, int64, int64, int64)",
    "_order_flow": f"float64({_ROWS}, int64, int64, int64)",
    "_volume": f"float64({_ROWS}, int64, int64)",
    "_average_price": f"float64({_ROWS}, int64, int64)",
    "_trade_flow": f"float64({_ROWS}, int64, int64)",
    "_queue_imbalance": f"float64({_ROWS}, int64, int64)",
    "_rate": f"float64({_ROWS}, int64, int64)",
    "_since": f"float64({_ROWS}, int64, int64, int64, int64, int64)",
    "_wave": "float64(int64, int64, float64)",
    "_share": "float64(float64, float64)",
    "observe_one": f"boolean({_ROWS}, int64, int64, {_PROGRAM}, float64, float64, float64, float32[::1])",
    "observe_all": f"void({_ROWS}, int64, int64, {_PROGRAM}, float32[:, ::1], boolean[::1])",
}  # callees first


@cache
def compile_kernel() -> tuple[Callable[..., bool], Callable[..., None]]:
    """Compile the functions of this module in place and return (observe_one, observe_all)."""
    compile_in_place(globals(), _SIGNATURES)
    return globals()["observe_one"], globals()["observe_all"]
