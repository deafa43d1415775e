"""Features of the last ticks: one spec, one ring, one kernel, for training, replay and live.

Every feature is a function of the ring (at most `capacity` ticks of one instrument) and of the account inputs; nothing
else is state. So warming a new policy reads the same ring, recovery refills the ring from the last ticks, and the batch
used in training gives the same bits as the stream.

Quotes: a quote is valid when 0 < bid <= ask; a locked one has spread 0. A crossed or zero quote counts as a tick and
changes nothing else: prices and sizes stay those of the last valid quote in the ring. A bar acts as a tick at its
close, and as a locked quote there as long as the ring holds no valid quote.

Only +, -, *, / and sqrt are used, so that the same ticks give the same bits on every machine.
"""

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from bundles import feature_kernel
from bundles.feature_kernel import (
    COLUMNS,
    FLOW,
    HELD,
    HELD_SCALE_S,
    IS_BAR,
    IS_QUOTE,
    IS_TRADE,
    MICROPRICE,
    POSITION,
    QUEUE,
    RATE,
    RETURN,
    SCALE_EVENTS,
    SPREAD,
    UNREALIZED,
    UNREALIZED_SCALE,
    VOLATILITY,
)
from messages import Bar, Quote, Refused, Trade

RING_TICKS = 512
MAX_EVENTS = 256  # half the ring: a window's first price may stand in a quote long before it
LIBRARY_VERSION = 1

Rows = np.ndarray[Any, np.dtype[np.float64]]
Floats32 = np.ndarray[Any, np.dtype[np.float32]]


class _Kind(Struct, frozen=True):
    code: int
    windowed: bool
    scaled: bool
    meaning: str


_KINDS: dict[str, _Kind] = {
    "return": _Kind(RETURN, True, True, "mid now / mid `events` ticks ago - 1, in standard deviations"),
    "spread": _Kind(SPREAD, False, False, "s / (s + 1 bp), s = (ask - bid) / mid"),
    "microprice": _Kind(MICROPRICE, False, True, "(size-weighted mid - mid) / mid, in standard deviations of a tick"),
    "queue_imbalance": _Kind(
        QUEUE, True, False, "(bid size - ask size) / (bid size + ask size), mean of the last `events` ticks"
    ),
    "trade_flow": _Kind(FLOW, True, False, "(bought - sold) / (bought + sold) in the last `events` ticks"),
    "volatility": _Kind(VOLATILITY, True, False, "v / (v + 5 bp), v = root of the summed squared tick returns"),
    "rate": _Kind(RATE, True, False, "r / (r + 10 a second), r = ticks a second over `events` ticks"),
    "position": _Kind(POSITION, False, False, "position / max_position"),
    "unrealized": _Kind(UNREALIZED, False, False, "u / (|u| + 10 bp), u = return of the open position since entry"),
    "held": _Kind(HELD, False, False, "t / (t + 60 s), t = time that the position has been held"),
}


class UnknownFeature(Refused):
    """Raised when a spec names a feature, or a parameter of one, that this version can't compute."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"feature {name!r}: {detail}; known are {', '.join(sorted(_KINDS))}")
        self.name, self.detail = name, detail


class Feature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature: its name in the library and its parameters. `events`: a window in ticks, 1 to 256."""

    name: str
    params: dict[str, int] = {}

    @property
    def label(self) -> str:
        """Return e.g. `return_8`."""
        return "_".join([self.name, *(str(value) for _, value in sorted(self.params.items()))])


class FeatureSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ordered features of an observation. Nothing is checked before `Observer` or `check_spec` sees it."""

    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the label of each feature, in order."""
        return tuple(feature.label for feature in self.features)

    @property
    def size(self) -> int:
        """Return how many values an observation has."""
        return len(self.features)

    @property
    def hash(self) -> str:
        """Return the sha256 (hex) of the canonical JSON and the library's version: equal means equal numbers."""
        content = {"library": LIBRARY_VERSION, "features": msgspec.to_builtins(self.features)}
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()

    @property
    def min_ticks(self) -> int:
        """Return how many ticks the ring must hold before there is an observation."""
        return max((_ticks_needed(feature) for feature in self.features), default=1)

    def position_of(self, name: str) -> int | None:
        """Return the index of the first feature of that name, or None."""
        return next((index for index, feature in enumerate(self.features) if feature.name == name), None)


DEFAULT_FEATURES = FeatureSpec(
    features=(
        Feature(name="return", params={"events": 1}),
        Feature(name="return", params={"events": 8}),
        Feature(name="return", params={"events": 32}),
        Feature(name="return", params={"events": 128}),
        Feature(name="spread"),
        Feature(name="queue_imbalance", params={"events": 1}),
        Feature(name="queue_imbalance", params={"events": 16}),
        Feature(name="trade_flow", params={"events": 32}),
        Feature(name="volatility", params={"events": 128}),
        Feature(name="position"),
        Feature(name="unrealized"),
    )
)


def check_spec(spec: FeatureSpec) -> None:
    """Raise UnknownFeature when this version can't compute a feature of `spec`, or when it has none."""
    if not spec.features:
        raise UnknownFeature("", "the spec names no feature")
    for feature in spec.features:
        kind = _KINDS.get(feature.name)
        if kind is None:
            raise UnknownFeature(feature.name, "not in the library")
        wanted = {"events"} if kind.windowed else set()
        if set(feature.params) != wanted:
            raise UnknownFeature(feature.name, f"takes the parameters {sorted(wanted)}, not {sorted(feature.params)}")
        if kind.windowed and not 1 <= feature.params["events"] <= MAX_EVENTS:
            raise UnknownFeature(feature.name, f"events is {feature.params['events']}, must be 1 to {MAX_EVENTS}")


def _ticks_needed(feature: Feature) -> int:
    kind = _KINDS.get(feature.name)
    scaled = SCALE_EVENTS + 1 if kind is not None and kind.scaled else 1
    return max(scaled, feature.params.get("events", 0) + 1)


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
        return self._rows, max(0, self._end - self.capacity), self._end

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
            self.push_bar(message.ts_recv, message.close)  # type: ignore[union-attr]

    def push_quote(self, ts_ns: int, bid: float, bid_size: float, ask: float, ask_size: float) -> None:
        """Add a quote as it came, valid or not."""
        end = self._end if self._end < len(self._rows) else self._make_room()
        self._pack(self._buffer, end * 64, ts_ns, IS_QUOTE, bid, bid_size, ask, ask_size, 0.0, 0.0)
        self._end = end + 1

    def push_trade(self, ts_ns: int, price: float, size: float, side: int) -> None:
        """Add a trade; `side` is the aggressor's: +1 bought, -1 sold, 0 unknown (then it adds no flow)."""
        end = self._end if self._end < len(self._rows) else self._make_room()
        self._pack(self._buffer, end * 64, ts_ns, IS_TRADE, 0.0, 0.0, 0.0, 0.0, price, side * size)
        self._end = end + 1

    def push_bar(self, ts_ns: int, close: float) -> None:
        """Add a bar at its close."""
        end = self._end if self._end < len(self._rows) else self._make_room()
        self._pack(self._buffer, end * 64, ts_ns, IS_BAR, close, 0.0, close, 0.0, close, 0.0)
        self._end = end + 1

    def _make_room(self) -> int:
        self._rows[: self.capacity] = self._rows[self._end - self.capacity : self._end]
        self._end = self.capacity
        return self._end


class Observer:
    """Computes observations of one spec. Raises UnknownFeature when the spec can't be computed."""

    def __init__(self, spec: FeatureSpec) -> None:
        check_spec(spec)
        self.spec = spec
        self.size = spec.size
        self._codes = np.array([_KINDS[feature.name].code for feature in spec.features], dtype=np.int64)
        self._events = np.array([feature.params.get("events", 0) for feature in spec.features], dtype=np.int64)
        self._min_ticks = spec.min_ticks
        self._one, self._all = warm_kernel()

    def observe(self, ring: TickRing, out: Floats32, position: float, unrealized: float, held_ns: int) -> bool:
        """Write the observation after the ring's newest tick into `out` (float32, [n]).

        `position` is the position / max_position, `unrealized` the return of the open position since its entry
        (fraction, positive = profit, 0 when flat), `held_ns` how long it has been held. Returns False, with `out`
        undefined, while the ring is warming up or when a value isn't finite.
        """
        rows, low, high = ring.window
        if high - low < self._min_ticks:
            return False
        return self._one(rows, low, high, self._codes, self._events, position, unrealized, held_ns * 1e-9, out)

    def observe_all(
        self, rows: Rows, capacity: int = RING_TICKS
    ) -> tuple[Floats32, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Return (observations [T, n], ready [T]) of the ticks `rows` [T, COLUMNS], flat account.

        Row t sees what a ring of `capacity` would have held after tick t, with the same bits as `observe`; rows that
        are not ready are zero.
        """
        out = np.zeros((len(rows), self.size), dtype=np.float32)
        ready = np.zeros(len(rows), dtype=np.bool_)
        if len(rows):
            block = np.ascontiguousarray(rows)
            self._all(block, capacity, self._min_ticks, self._codes, self._events, out, ready)
        return out, ready

    def fill_account(self, out: Floats32, position: float, unrealized: float, held_ns: int) -> None:
        """Overwrite the account features in `out`, as `observe` would have computed them."""
        for index, code in enumerate(self._codes.tolist()):
            if code == POSITION:
                out[index] = position
            elif code == UNREALIZED:
                out[index] = unrealized / (abs(unrealized) + UNREALIZED_SCALE)
            elif code == HELD:
                held_s = held_ns * 1e-9
                out[index] = held_s / (held_s + HELD_SCALE_S)


def warm_kernel() -> tuple[Callable[..., bool], Callable[..., None]]:
    """Compile the kernel, or take it from numba's cache; return (one observation, all of them).

    Takes about two seconds the first time, 0.3 s with a cache; call it at start, off the hot path.
    """
    return feature_kernel.compile_kernel()
