"""What a timed replica noted, inside and outside of some windows of time."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Integers = npt.NDArray[np.int64]


class Window(NamedTuple):
    """From one moment to another, in nanoseconds of `time.perf_counter_ns`, which all processes share."""

    begin_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.begin_ns) / 1e9


class Seen(Struct, frozen=True, kw_only=True):
    """Times in milliseconds: of steps that decided records, and by how much the event loop was late.

    `typical_latest_ms`: the median over the windows of the most that it was late in each. One bad moment of the
    machine shows in the slowest of all, not in that.
    """

    steps: int
    slowest_ms: float
    p999_ms: float
    p50_ms: float
    latest_ms: float
    late_p999_ms: float
    typical_latest_ms: float


def seen(file: Path, windows: Sequence[Window]) -> Seen:
    """Return what the replica noted in the windows."""
    with np.load(file) as noted:
        steps, late = noted["steps"], noted["late"]
    steps = steps[steps[:, 2] > 0]
    took = steps[_within(steps[:, 0], windows), 1] / 1e6
    behind = late[_within(late[:, 0], windows), 1] / 1e6
    return Seen(
        steps=len(took),
        slowest_ms=float(took.max(initial=0.0)),
        p999_ms=float(np.percentile(took, 99.9)),
        p50_ms=float(np.percentile(took, 50)),
        latest_ms=float(behind.max(initial=0.0)),
        late_p999_ms=float(np.percentile(behind, 99.9)),
        typical_latest_ms=float(np.median([late[_within(late[:, 0], [w]), 1].max(initial=0) / 1e6 for w in windows])),
    )


def _within(moments: Integers, windows: Sequence[Window]) -> npt.NDArray[np.bool_]:
    inside = np.zeros(len(moments), bool)
    for window in windows:
        inside |= (moments >= window.begin_ns) & (moments <= window.end_ns)
    return inside
