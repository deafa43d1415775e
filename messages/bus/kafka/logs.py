"""A bound on what aiokafka and asyncio log: an outage repeats a few messages hundreds of times."""

import logging
from collections.abc import Iterable

from messages.clock import Clock

WINDOW_S = 30.0
LINES_PER_WINDOW = 2
MAX_KINDS = 64
_NOISY = ("aiokafka", "asyncio")


class LogLimit(logging.Filter):
    """Lets the first `lines` messages of a kind through in each window; the next window's first says what was left out.

    A kind is a logger's message before its values are put in. Beyond `kinds` of them the rest share one.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        lines: int = LINES_PER_WINDOW,
        window_s: float = WINDOW_S,
        kinds: int = MAX_KINDS,
    ) -> None:
        super().__init__()
        self._clock, self._lines, self._window_ns, self._kinds = clock, lines, round(window_s * 1e9), kinds
        self._seen: dict[object, tuple[int, int]] = {}  # when its window began, and how many came since

    def filter(self, record: logging.LogRecord) -> bool:
        now_ns = self._clock.perf_ns()
        kind: object = (record.name, record.msg if isinstance(record.msg, str) else type(record.msg))
        if kind not in self._seen and len(self._seen) >= self._kinds:
            kind = None
        began_ns, count = self._seen.get(kind, (now_ns, 0))
        if now_ns - began_ns < self._window_ns:
            self._seen[kind] = (began_ns, count + 1)
            return count < self._lines
        self._seen[kind] = (now_ns, 1)
        if (left_out := count - self._lines) > 0:
            record.msg = f"{record.getMessage()} ({left_out} more like it were left out)"
            record.args = ()
        return True


def limit_logs(clock: Clock, names: Iterable[str] = _NOISY) -> None:
    """Bound what the loggers of these names and below them say. Does nothing to one that is bounded already."""
    limit = LogLimit(clock)
    known = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in names]
    for name in {*known, *names}:
        logger = logging.getLogger(name)  # a filter is asked for its own logger's records only, not for those below
        if not any(isinstance(existing, LogLimit) for existing in logger.filters):
            logger.addFilter(limit)
