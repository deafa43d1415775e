"""Time as an argument: the one place that reads a clock. A virtual clock moves only when it is told to."""

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """What agents know of time."""

    def now_ns(self) -> int:
        """Return nanoseconds since the epoch, UTC."""
        ...

    def perf_ns(self) -> int:
        """Return a monotonic reading of real time, for measuring latencies; never an input of a decision."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait until this clock has moved on by `seconds`."""
        ...

    async def wait(self, waiter: asyncio.Future[bool], timeout_s: float) -> bool:
        """Wait for the future, at most `timeout_s` of this clock; return its result, or False when time is up."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def perf_ns(self) -> int:
        return time.perf_counter_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, waiter: asyncio.Future[bool], timeout_s: float) -> bool:
        handle = asyncio.get_running_loop().call_later(timeout_s, _expire, waiter)
        try:
            return await waiter
        finally:
            handle.cancel()


class VirtualClock:
    """A clock that stands still between calls of `advance_to`; waiters wake in order of their deadlines."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._ticket = itertools.count()
        self._waiters: list[tuple[int, int, asyncio.Future[bool]]] = []
        self.activity = 0

    def now_ns(self) -> int:
        return self._now_ns

    def perf_ns(self) -> int:
        return time.perf_counter_ns()

    async def sleep(self, seconds: float) -> None:
        await self.wait(asyncio.get_running_loop().create_future(), seconds)

    async def wait(self, waiter: asyncio.Future[bool], timeout_s: float) -> bool:
        entry = (self._now_ns + round(timeout_s * 1e9), next(self._ticket), waiter)
        heapq.heappush(self._waiters, entry)
        return await waiter

    def next_deadline_ns(self) -> int | None:
        """Return when the first waiter is due, or None when nobody waits."""
        while self._waiters and self._waiters[0][2].done():
            heapq.heappop(self._waiters)
        return self._waiters[0][0] if self._waiters else None

    def set(self, now_ns: int) -> None:
        """Move to `now_ns` (never back) and wake whoever is due by then."""
        self._now_ns = max(self._now_ns, now_ns)
        while (deadline := self.next_deadline_ns()) is not None and deadline <= self._now_ns:
            _expire(heapq.heappop(self._waiters)[2])
            self.activity += 1


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
