"""What the gate remembers of the recent past: sliding windows on the step clock, as values in checkpoints.

The clock never goes back. A window is half open: what happened exactly its length ago is out.
"""

from collections import deque

from agents.risk.instruments import NANO

Stamped = tuple[int, int]
_NEVER_NS = -(2**63)


class RateWindow:
    """The messages of the last second. Nothing is queued: when the rate falls there is room again at once."""

    def __init__(self, times_ns: tuple[int, ...] = ()) -> None:
        self.times_ns = deque(times_ns)

    def add(self, now_ns: int) -> None:
        """Count one message."""
        times_ns, until_ns = self.times_ns, now_ns - NANO
        times_ns.append(now_ns)
        while times_ns[0] <= until_ns:
            times_ns.popleft()

    def has_room(self, most: int, now_ns: int) -> bool:
        """Whether fewer than `most` messages lie in the second before now."""
        return len(self.times_ns) < most or self.times_ns[-most] <= now_ns - NANO

    def snapshot(self) -> tuple[int, ...]:
        """Return the times, oldest first."""
        return tuple(self.times_ns)


class Executions:
    """Counts one strategy's orders in one instrument; at the limit it latches until a person resets it."""

    def __init__(self, times_ns: tuple[int, ...] = (), *, is_latched: bool = False) -> None:
        self._times_ns = deque(times_ns)
        self.is_latched = is_latched

    def add(self, most: int, window_ns: int, now_ns: int) -> bool:
        """Count one order; True when it is the one that latches. A window of 0 counts nothing."""
        times_ns, until_ns = self._times_ns, now_ns - window_ns
        times_ns.append(now_ns)
        while times_ns and times_ns[0] <= until_ns:
            times_ns.popleft()
        if self.is_latched or len(times_ns) < most:
            return False
        self.is_latched = True
        return True

    def snapshot(self) -> tuple[int, ...]:
        """Return the times, oldest first."""
        return tuple(self._times_ns)


class Extremes:
    """The highest and the lowest value of a period, each in a deque that is sorted by time and by value.

    `bounds` are the (lowest, highest) of all values, the answer to every question about a time before `until_ns`.
    """

    def __init__(self, highs: tuple[Stamped, ...] = (), lows: tuple[Stamped, ...] = ()) -> None:
        self.highs = deque(highs)
        self.lows = deque(lows)
        self.until_ns, self.bounds = _NEVER_NS, (0, 0)
        if lows:
            self._bound()

    def add(self, value: int, period_ns: int, now_ns: int) -> None:
        """Take in a value; what is older than the period goes."""
        highs, lows = self.highs, self.lows
        while highs and highs[-1][1] <= value:
            highs.pop()
        while lows and lows[-1][1] >= value:
            lows.pop()
        newest, until_ns = (now_ns, value), now_ns - period_ns
        highs.append(newest)
        lows.append(newest)
        while highs[0][0] <= until_ns and highs[0] is not newest:
            highs.popleft()
        while lows[0][0] <= until_ns and lows[0] is not newest:
            lows.popleft()
        self._bound()

    def since(self, since_ns: int) -> tuple[int, int] | None:
        """Return the (lowest, highest) value after `since_ns`; None when there is none so late."""
        if not self.lows or self.lows[-1][0] <= since_ns:  # the newest of all ends both
            return None
        if since_ns < self.until_ns:
            return self.bounds
        return _first(self.lows, since_ns), _first(self.highs, since_ns)

    def _bound(self) -> None:
        """Keep the answer at hand for as long as both first ones are young enough."""
        (low_ns, low), (high_ns, high) = self.lows[0], self.highs[0]
        self.until_ns = low_ns if low_ns < high_ns else high_ns  # noqa: FURB136 - hot
        self.bounds = low, high


def _first(values: deque[Stamped], since_ns: int) -> int:
    return next(value for ts_ns, value in values if ts_ns > since_ns)
