"""What the gate remembers of the recent past: sliding windows on the step clock, as values in checkpoints."""

from collections import deque

from agents.risk.instruments import NANO

Stamped = tuple[int, int]


class RateWindow:
    """The messages of the last second. Nothing is queued: when the rate falls there is room again at once."""

    def __init__(self, times_ns: tuple[int, ...] = ()) -> None:
        self._times_ns = deque(times_ns)

    def add(self, now_ns: int) -> None:
        """Count one message."""
        self._times_ns.append(now_ns)
        _drop_until(self._times_ns, now_ns - NANO)

    def has_room(self, most: int, now_ns: int) -> bool:
        """Whether fewer than `most` messages lie in the second before now."""
        times_ns = self._times_ns
        return len(times_ns) < most or times_ns[-most] <= now_ns - NANO

    def snapshot(self) -> tuple[int, ...]:
        """Return the times, oldest first."""
        return tuple(self._times_ns)


class Executions:
    """Counts one strategy's orders in one instrument; at the limit it latches until a person resets it."""

    def __init__(self, times_ns: tuple[int, ...] = (), *, is_latched: bool = False) -> None:
        self._times_ns = deque(times_ns)
        self.is_latched = is_latched

    def add(self, most: int, window_ns: int, now_ns: int) -> None:
        """Count one order."""
        self._times_ns.append(now_ns)
        _drop_until(self._times_ns, now_ns - window_ns)
        self.is_latched = self.is_latched or len(self._times_ns) >= most

    def snapshot(self) -> tuple[int, ...]:
        """Return the times, oldest first."""
        return tuple(self._times_ns)


class Extremes:
    """The highest and the lowest value of a period, each in a deque that is sorted by time and by value."""

    def __init__(self, highs: tuple[Stamped, ...] = (), lows: tuple[Stamped, ...] = ()) -> None:
        self.highs = deque(highs)
        self.lows = deque(lows)

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

    def furthest_from(self, value: int, since_ns: int) -> int | None:
        """Return the value after `since_ns` that differs most from `value`; None when there is none so late."""
        high = low = None
        for ts_ns, high in self.highs:  # noqa: B007 - the first young enough, nearly always the first
            if ts_ns > since_ns:
                break
        else:
            return None
        for ts_ns, low in self.lows:  # noqa: B007
            if ts_ns > since_ns:
                break
        else:
            return None
        return high if abs(high - value) >= abs(low - value) else low


def _drop_until(times_ns: deque[int], until_ns: int) -> None:
    while times_ns and times_ns[0] <= until_ns:
        times_ns.popleft()
