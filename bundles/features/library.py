"""The features by name: what each takes, what it says, and its place in the kernel. docs/features.md is this table."""

from collections.abc import Mapping

from msgspec import Struct

from bundles.features import kernel
from bundles.features.kernel import SCALE_EVENTS

MAX_EVENTS = 256  # half the ring: a window's first price may stand in a quote long before it
LIBRARY_VERSION = 1  # another one where the same ticks give other numbers


class Parameter(Struct, frozen=True):
    """A whole number from 1 to `maximum`. `unit` stands behind it in labels, `scale` makes it the kernel's."""

    maximum: int
    scale: int
    unit: str
    meaning: str


PARAMETERS: Mapping[str, Parameter] = {
    "events": Parameter(MAX_EVENTS, 1, "", "the window: the newest so many ticks"),
    "ms": Parameter(86_400_000, -1_000_000, "ms", "the window: the newest ticks, up to the first one so old or older"),
    "scale_ms": Parameter(86_400_000, 1_000_000, "ms", "the time at which the feature is one half"),
    "period_s": Parameter(604_800, 1_000_000_000, "s", "the length of a period; periods begin at 1970-01-01T00:00Z"),
}
WINDOW = ("events", "ms")
SCALE = ("scale_ms",)
PERIOD = ("period_s",)


class Kind(Struct, frozen=True):
    """One feature of the library.

    `params`: it takes one of these; `least`: how many ticks it needs, besides those of a window of `events` and the one
    before; `lowest`, `highest`: the range of its values.
    """

    code: int
    params: tuple[str, ...]
    least: int
    lowest: int
    highest: int
    meaning: str


_SCALED = SCALE_EVENTS + 1

KINDS: Mapping[str, Kind] = {
    "return": Kind(kernel.RETURN, WINDOW, _SCALED, -10, 10, "(m / m0 - 1) / (d * sqrt(n))"),
    "against_mean": Kind(
        kernel.MEAN, WINDOW, _SCALED, -10, 10, "(m / a - 1) / (d * sqrt(n)), a = mean of the mids after each tick"
    ),
    "vwap": Kind(
        kernel.VWAP,
        WINDOW,
        _SCALED,
        -10,
        10,
        "(m / v - 1) / (d * sqrt(n)), v = volume-weighted price of trades and bars",
    ),
    "range_position": Kind(
        kernel.RANGE, WINDOW, 2, -1, 1, "2 * (m - lowest) / (highest - lowest) - 1, of the mids from m0 to m"
    ),
    "trend": Kind(kernel.TREND, WINDOW, 2, -1, 1, "(m - m0) / sum of the mids' changes, by magnitude"),
    "volatility": Kind(
        kernel.VOLATILITY, WINDOW, 2, 0, 1, "v / (v + 5 bp), v = root of the summed squared tick returns"
    ),
    "spread": Kind(kernel.SPREAD, (), 1, 0, 1, "s / (s + 1 bp), s = (ask - bid) / m"),
    "spread_ratio": Kind(kernel.SPREAD_RATIO, WINDOW, 2, 0, 1, "s / (s + its mean after each tick)"),
    "microprice": Kind(kernel.MICROPRICE, (), _SCALED, -10, 10, "(ask - bid) / 2 * q / m / d"),
    "queue_imbalance": Kind(
        kernel.QUEUE, WINDOW, 2, -1, 1, "mean of q over the valid quotes; q of the last one when there is none"
    ),
    "depth_ratio": Kind(
        kernel.DEPTH_RATIO, WINDOW, 2, 0, 1, "z / (z + its mean after each tick), z = bid size + ask size"
    ),
    "order_flow": Kind(
        kernel.ORDER_FLOW, WINDOW, 2, -1, 1, "sum of e / sum of |e|, e = the order-flow imbalance of each valid quote"
    ),
    "trade_flow": Kind(kernel.FLOW, WINDOW, 2, -1, 1, "(bought - sold) / (bought + sold)"),
    "volume_ratio": Kind(
        kernel.VOLUME_RATIO, WINDOW, 2, 0, 1, "x / (x + y), x = volume a tick in the window, y = in the ring"
    ),
    "rate": Kind(kernel.RATE, WINDOW, 2, 0, 1, "n / (n + 10 t), t = seconds since the tick before the window"),
    "gap": Kind(kernel.GAP, SCALE, 2, 0, 1, "t / (t + scale), t = time since the tick before"),
    "since_trade": Kind(kernel.SINCE_TRADE, SCALE, 1, 0, 1, "t / (t + scale), t = time since the last trade"),
    "since_move": Kind(kernel.SINCE_MOVE, SCALE, 1, 0, 1, "t / (t + scale), t = time since the mid changed"),
    "clock_sine": Kind(kernel.CLOCK_SINE, PERIOD, 1, -1, 1, "w(p), p = time of the newest tick / period, modulo 1"),
    "clock_cosine": Kind(kernel.CLOCK_COSINE, PERIOD, 1, -1, 1, "w(p + 1/4)"),
    "position": Kind(kernel.POSITION, (), 1, -1, 1, "position / max_position"),
    "unrealized": Kind(
        kernel.UNREALIZED, (), 1, -1, 1, "u / (|u| + 10 bp), u = return of the open position since entry"
    ),
    "held": Kind(kernel.HELD, (), 1, 0, 1, "t / (t + 60 s), t = time that the position has been held"),
}


def ticks_needed(name: str, params: Mapping[str, int]) -> int:
    """Return how many ticks the ring must hold for a feature of the library."""
    return max(KINDS[name].least, params.get("events", 0) + 1)


def program_of(name: str, params: Mapping[str, int]) -> tuple[int, int]:
    """Return a feature as the kernel knows it: its code, and its window (ticks, or -ns), scale or period (ns)."""
    return KINDS[name].code, next((PARAMETERS[key].scale * value for key, value in params.items()), 0)


def complaint(name: str, params: Mapping[str, int]) -> str | None:
    """Return what is wrong with the parameters of a feature of the library, or None."""
    wanted = KINDS[name].params
    if not wanted and params:
        return f"takes no parameters, not {', '.join(sorted(params))}"
    if wanted and (len(params) != 1 or next(iter(params)) not in wanted):
        return f"takes {' or '.join(wanted)}, not {', '.join(sorted(params)) or 'nothing'}"
    for key, value in params.items():
        if not 1 <= value <= PARAMETERS[key].maximum:
            return f"{key} is {value}, must be 1 to {PARAMETERS[key].maximum}"
    return None
