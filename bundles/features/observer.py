"""Observations of one spec, from a ring or from all rows at once."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bundles.features import kernel
from bundles.features.kernel import HELD, HELD_SCALE_S, POSITION, UNREALIZED, UNREALIZED_SCALE, USER
from bundles.features.library import KINDS, program_of
from bundles.features.ring import RING_TICKS, Rows, TickRing
from bundles.features.spec import FeatureSpec, check_spec
from bundles.features.user import UserFeature, UserProgram, resolved

Floats32 = np.ndarray[Any, np.dtype[np.float32]]
_NO_FEATURES: Mapping[str, UserFeature] = {}


class Observer:
    """Computes observations of one spec; `user` are the user's own features that it may use, by name.

    `spec` is the one given, sealed: with the sources of the user's features and its hash. Raises FeaturesRefused when
    the spec can't be computed here with the numbers that its policy was trained on.
    """

    def __init__(self, spec: FeatureSpec, user: Mapping[str, UserFeature] = _NO_FEATURES) -> None:
        spec = resolved(spec, user)
        check_spec(spec)
        self.spec = spec.sealed
        self.size = spec.size
        program = [program_of(one.name, one.params) if one.name in KINDS else (USER, 0) for one in spec.features]
        self._program = np.array(program, dtype=np.int64)
        self._user = UserProgram(spec, user)
        self._has_user = bool(self._user)
        self._min_ticks = spec.min_ticks
        self._one, self._all = warm_kernel()

    def observe(self, ring: TickRing, out: Floats32, position: float, unrealized: float, held_ns: int) -> bool:
        """Write the observation after the ring's newest tick into `out` (float32, [n]).

        `position` is the position / max_position, `unrealized` the return of the open position since its entry
        (fraction, positive = profit, 0 when flat), `held_ns` how long it has been held. Returns False, with `out`
        undefined, while the ring is warming up or when a value isn't finite. Raises FeatureFailed when a user's
        feature raises.
        """
        rows, low, high = ring.window
        if high - low < self._min_ticks:
            return False
        is_ready = self._one(rows, low, high, self._program, position, unrealized, held_ns * 1e-9, out)
        return is_ready and (not self._has_user or self._user.fill(rows[low:high], out))

    def observe_all(
        self, rows: Rows, capacity: int = RING_TICKS
    ) -> tuple[Floats32, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Return (observations [T, n], ready [T]) of the ticks `rows` [T, COLUMNS], flat account.

        Row t sees what a ring of `capacity` would have held after tick t, with the same bits as `observe`; rows that
        are not ready are zero. Raises FeatureFailed when a user's feature raises.
        """
        out = np.zeros((len(rows), self.size), dtype=np.float32)
        ready = np.zeros(len(rows), dtype=np.bool_)
        if len(rows):
            block = np.ascontiguousarray(rows)
            self._all(block, capacity, self._min_ticks, self._program, out, ready)
            if self._has_user:
                self._fill_all(block, capacity, out, ready)
        return out, ready

    def _fill_all(self, block: Rows, capacity: int, out: Floats32, ready: Any) -> None:
        for row in np.flatnonzero(ready).tolist():
            if not self._user.fill(block[max(0, row + 1 - capacity) : row + 1], out[row]):
                ready[row], out[row] = False, 0.0

    def fill_account(self, out: Floats32, position: float, unrealized: float, held_ns: int) -> None:
        """Overwrite the account features in `out`, as `observe` would have computed them."""
        for index, code in enumerate(self._program[:, 0].tolist()):
            if code == POSITION:
                out[index] = position
            elif code == UNREALIZED:
                out[index] = unrealized / (abs(unrealized) + UNREALIZED_SCALE)
            elif code == HELD:
                held_s = held_ns * 1e-9
                out[index] = held_s / (held_s + HELD_SCALE_S)


def warm_kernel() -> tuple[Callable[..., bool], Callable[..., None]]:
    """Compile the kernel, or take it from numba's cache; return (one observation, all of them).

    Takes some seconds the first time, 0.3 s with a cache; call it at start, off the hot path.
    """
    return kernel.compile_kernel()
