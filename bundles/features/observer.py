"""Observations of one spec, from a ring or from all rows at once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bundles.features import kernel
from bundles.features.kernel import HELD, HELD_SCALE_S, POSITION, UNREALIZED, UNREALIZED_SCALE
from bundles.features.ring import RING_TICKS, Rows, TickRing
from bundles.features.spec import KINDS, FeatureSpec, check_spec

Floats32 = np.ndarray[Any, np.dtype[np.float32]]


class Observer:
    """Computes observations of one spec. Raises UnknownFeature when the spec can't be computed."""

    def __init__(self, spec: FeatureSpec) -> None:
        check_spec(spec)
        self.spec = spec
        self.size = spec.size
        self._codes = np.array([KINDS[feature.name].code for feature in spec.features], dtype=np.int64)
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
    return kernel.compile_kernel()
