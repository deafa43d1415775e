"""The virtual clock stands still until told, and wakes waiters in order of their deadlines."""

import asyncio

import pytest

from messages import SystemClock, VirtualClock


async def _turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_sleepers_wake_in_order_of_their_deadlines_and_then_of_their_arrival() -> None:
    clock, woken = VirtualClock(), list[str]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in (("late", 3), ("first", 1), ("second", 1), ("third", 1), ("middle", 2)):
            tasks.create_task(sleeper(name, seconds))
        await _turns()
        clock.set(999_999_999)
        await _turns()
        assert woken == []
        clock.set(2_000_000_000)
        await _turns()
        assert woken == ["first", "second", "third", "middle"]
        clock.set(3_000_000_000)
    assert woken[-1] == "late"


async def test_time_never_goes_back() -> None:
    clock = VirtualClock(start_ns=100)
    clock.set(50)
    assert clock.now_ns() == 100


async def test_the_next_deadline_is_that_of_the_first_who_still_waits() -> None:
    clock = VirtualClock(start_ns=5)
    assert clock.next_deadline_ns() is None
    waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    waiting = [asyncio.ensure_future(clock.wait(waiter, 1.0)), asyncio.ensure_future(clock.sleep(2.0))]
    await _turns()
    assert clock.next_deadline_ns() == 1_000_000_005
    waiter.set_result(True)
    assert await waiting[0] is True
    assert clock.next_deadline_ns() == 2_000_000_005
    clock.set(2_000_000_005)
    await waiting[1]


async def test_a_waiter_whose_time_is_up_gets_false() -> None:
    clock = VirtualClock()
    waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(clock.wait(waiter, 0.5))
    await _turns()
    clock.set(500_000_000)
    assert await waiting is False


async def test_a_cancelled_waiter_is_forgotten() -> None:
    clock = VirtualClock()
    waiting = asyncio.ensure_future(clock.sleep(1))
    await _turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert clock.next_deadline_ns() is None


async def test_the_system_clock_waits_and_gives_up_by_itself() -> None:
    clock = SystemClock()
    before = clock.now_ns()
    waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    assert await clock.wait(waiter, 0.01) is False
    await clock.sleep(0.001)
    assert clock.now_ns() - before >= 10_000_000
