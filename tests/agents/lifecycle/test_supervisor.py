"""The owner of tasks: no death goes unnoticed."""

import asyncio
from itertools import pairwise

import pytest

from agents.lifecycle.supervisor import MAX_PAUSE_S, PAUSE_S, Supervisor
from messages import BusTimeout, BusUnavailable, Refused, VirtualClock


async def fail() -> None:
    raise ValueError("died")


async def test_wait_raises_what_a_task_died_of() -> None:
    tasks = Supervisor()
    tasks.spawn(asyncio.Event().wait(), "idle")
    tasks.spawn(fail(), "failing")
    with pytest.raises(ValueError, match="died"):
        await tasks.wait()
    await tasks.stop()


async def test_the_death_of_a_task_spawned_while_waiting_is_noticed() -> None:
    tasks = Supervisor()

    async def spawn_another() -> None:
        tasks.spawn(fail(), "late")

    tasks.spawn(asyncio.Event().wait(), "idle")
    tasks.spawn(spawn_another(), "spawner")
    with pytest.raises(ValueError, match="died"):
        await tasks.wait()
    await tasks.stop()


async def test_stop_cancels_what_runs_and_lets_wait_return() -> None:
    tasks = Supervisor()
    idle = tasks.spawn(asyncio.Event().wait(), "idle")
    waiting = asyncio.ensure_future(tasks.wait())
    await asyncio.sleep(0)
    await tasks.stop()
    await asyncio.wait_for(waiting, 1)
    assert idle.cancelled()


async def test_stop_raises_an_error_that_nobody_has_seen() -> None:
    tasks = Supervisor()
    tasks.spawn(fail(), "failing")
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="died"):
        await tasks.stop()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_kept_task_begins_again_after_pauses_that_grow_to_a_bound_and_shrink_when_it_was_well() -> None:
    tasks, clock, began = Supervisor(), VirtualClock(), list[float]()
    run_s = 0.0

    async def work() -> None:
        began.append(clock.now_ns() / 1e9)
        if run_s:
            await clock.sleep(run_s)
        raise BusUnavailable("kafka://x:1", "away") if len(began) % 2 else BusTimeout("publish", 1)

    tasks.keep(work, "kept", clock)
    for tenths in range(100):
        clock.set(tenths * 100_000_000)
        await settled()
    pauses = [round(later - earlier, 1) for earlier, later in pairwise(began)]
    assert pauses[:4] == [0.3, 0.5, 1.0, 2.0]
    assert set(pauses[3:]) == {MAX_PAUSE_S}
    run_s = 20.0
    before = len(began)
    for tenths in range(100, 500):
        clock.set(tenths * 100_000_000)
        await settled()
    assert began[before + 1] - began[before] <= 20 + PAUSE_S + 0.2
    await tasks.stop()


async def test_a_kept_task_ends_the_owner_when_trying_again_is_of_no_use() -> None:
    tasks = Supervisor()

    async def work() -> None:
        raise Refused("no")

    tasks.keep(work, "kept", VirtualClock())
    with pytest.raises(Refused):
        await tasks.wait()
    await tasks.stop()


async def test_a_kept_task_that_returns_is_done() -> None:
    tasks = Supervisor()
    done = tasks.keep(asyncio.Event().wait, "waits", VirtualClock())
    done.cancel()
    finished = tasks.keep(lambda: asyncio.sleep(0), "returns", VirtualClock())
    await asyncio.wait_for(finished, 1)
    await tasks.stop()


async def test_a_failure_is_told_though_its_task_is_cancelled_while_it_cleans_up() -> None:
    owner, cleaning = Supervisor(), asyncio.Event()

    async def work() -> None:
        try:
            with owner.telling():
                raise ValueError("broken")
        finally:
            cleaning.set()
            await asyncio.Event().wait()

    task = owner.spawn(work(), "work")
    await cleaning.wait()
    task.cancel()
    with pytest.raises(ValueError, match="broken"):
        await owner.wait()
    await owner.stop()


async def test_what_is_retryable_is_left_to_the_task() -> None:
    owner = Supervisor()
    with pytest.raises(BusTimeout), owner.telling():
        raise BusTimeout("reading", 1.0)
    await owner.stop()


async def test_what_is_spawned_after_the_stop_never_begins() -> None:
    owner, begun = Supervisor(), asyncio.Event()
    await owner.stop()

    async def late() -> None:
        begun.set()

    task = owner.spawn(late(), "late")
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()
    assert not begun.is_set()
    await asyncio.wait_for(owner.wait(), 1)
