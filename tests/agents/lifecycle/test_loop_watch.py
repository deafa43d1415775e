"""How late the loop is, by the clock that is handed in."""

import asyncio

from agents.lifecycle.loop_watch import sleep_watching
from messages import VirtualClock


class Late:
    """A clock whose sleeps take longer than asked, by what it is given for each."""

    def __init__(self, *late_s: float) -> None:
        self._late_s, self._now_s = list(late_s), 0.0
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return round(self._now_s * 1e9)

    def perf_ns(self) -> int:
        return round(self._now_s * 1e9)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self._now_s += seconds + (self._late_s.pop(0) if self._late_s else 0.0)

    async def wait(self, waiter: asyncio.Future[bool], timeout_s: float) -> bool:
        raise NotImplementedError


async def test_the_worst_of_the_pieces_is_returned_and_each_is_heard() -> None:
    clock, heard = Late(0.001, 0.25, 0.0), list[float]()
    worst_s = await sleep_watching(clock, 1.0, heard.append, every_s=0.1)
    assert worst_s is not None
    assert round(worst_s, 6) == 0.25
    assert [round(late, 6) for late in heard[:3]] == [0.001, 0.25, 0.0]


async def test_what_was_late_is_not_slept_again() -> None:
    clock = Late(0.5)
    await sleep_watching(clock, 1.0, every_s=0.1)
    assert round(clock.now_ns() / 1e9, 3) == 1.0


async def test_on_a_virtual_clock_it_is_one_sleep_and_nothing_is_late() -> None:
    clock = VirtualClock()
    sleeping = asyncio.ensure_future(sleep_watching(clock, 1.0))
    await asyncio.sleep(0)
    clock.set(10**9)
    assert await sleeping is None
