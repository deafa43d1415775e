"""Features as a user would write them, good and bad ones."""

import math
from typing import Any

import numpy as np

from bundles.features import ASK, ASK_SIZE, BID, BID_SIZE, IS_QUOTE, KIND, TS

SCALE = 3.0


def skew(rows: Any, events: int) -> float:
    """Queues of the last ticks, summed; NaN without any size."""
    bids = asks = 0.0
    for row in range(max(0, len(rows) - events), len(rows)):
        if rows[row, KIND] == IS_QUOTE:
            bids += rows[row, BID_SIZE]
            asks += rows[row, ASK_SIZE]
    return (bids - asks) / (bids + asks)


def other_skew(rows: Any, events: int) -> float:
    return float(len(rows) - events)


def age(rows: Any, scale_ms: int, power: int) -> float:
    """The ring's reach in time, with parameters that don't stand in the order of their names."""
    times = rows.view(np.int64)
    reach: float = (times[len(rows) - 1, TS] - times[0, TS]) * 1e-6
    return math.sqrt(max(reach, 0.0)) / scale_ms + power


def mid_of(rows: Any, tick: int) -> float:
    return (rows[tick, BID] + rows[tick, ASK]) * 0.5  # type: ignore[no-any-return]


def scaled(rows: Any) -> float:
    return SCALE * len(rows)


def writes(rows: Any) -> float:
    rows[0, BID] = 1.0
    return 1.0


def many(rows: Any, *events: int) -> float:
    return float(len(rows) + len(events))


def optional(rows: Any, events: int = 3) -> float:
    return float(len(rows) + events)
