"""The owner of tasks: no death goes unnoticed."""

import asyncio

import pytest

from agents.lifecycle.supervisor import Supervisor


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
