import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from bundles.errors import PolicyError
from bundles.micro_batches import MicroBatches, NotServed
from bundles.runtimes.protocol import Action, Floats
from bundles.runtimes.torchscript import TorchScriptRuntime
from messages import RejectCode, VirtualClock
from tests.bundles.samples import crafted_policy

POLICY = crafted_policy(
    ["outputs = torch.div(obs, torch.slice(obs, 1, 0, 1))", "return (torch.argmax(obs, 1), outputs)"]
)


class Counting:
    """A runtime that remembers how many it was asked at once."""

    def __init__(self) -> None:
        self._runtime = TorchScriptRuntime.load(POLICY, (4,))
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def act_batch(self, observations: Floats) -> list[Action]:
        self.asked.append(len(observations))
        return self._runtime.act_batch(observations)


def row(best: int, first: float = 1.0) -> Floats:
    values = np.full(4, 0.5, np.float32)
    values[0] = first
    values[best] = 9.0
    return values


@asynccontextmanager
async def serving(clock: VirtualClock, **options: Any) -> AsyncIterator[tuple[MicroBatches, Counting]]:
    runtime: Any = Counting()
    batches = MicroBatches(runtime, clock, **{"batch_size": 3, "max_wait_s": 0.001, **options})
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(batches.run())
        yield batches, runtime
        task.cancel()


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_full_batch_goes_at_once_in_order() -> None:
    async with serving(VirtualClock()) as (batches, runtime):
        assert await asyncio.gather(*(batches.act(row(best)) for best in (2, 1, 3))) == [(2.0,), (1.0,), (3.0,)]
        assert runtime.asked == [3]


async def test_what_is_too_much_for_a_batch_goes_in_the_next_ones() -> None:
    clock = VirtualClock()
    async with serving(clock) as (batches, runtime):
        asked = asyncio.gather(*(batches.act(row(n % 3 + 1)) for n in range(7)))
        await turns()
        assert runtime.asked == [3, 3]
        clock.set(1_000_000)
        assert await asked == [(float(n % 3 + 1),) for n in range(7)]
        assert runtime.asked == [3, 3, 1]


async def test_nobody_waits_for_company_longer_than_the_deadline() -> None:
    clock = VirtualClock()
    async with serving(clock) as (batches, runtime):
        asked = asyncio.gather(batches.act(row(2)))
        await turns()
        clock.set(999_999)
        await turns()
        assert runtime.asked == []
        clock.set(1_000_000)
        assert list(await asked) == [(2.0,)]


async def test_a_bad_observation_is_its_callers_alone() -> None:
    async with serving(VirtualClock(), batch_size=2) as (batches, _):
        wrong: list[Any] = [np.zeros(3, np.float32), np.zeros(4), np.full(4, np.nan, np.float32)]
        answers = await asyncio.gather(
            *map(batches.act, wrong), batches.act(row(1)), batches.act(row(2)), return_exceptions=True
        )
        assert [getattr(answer, "code", answer) for answer in answers] == [
            RejectCode.WRONG_SHAPE, RejectCode.WRONG_SHAPE, RejectCode.NOT_FINITE, (1.0,), (2.0,),
        ]  # fmt: skip


async def test_an_answer_that_is_not_finite_is_its_callers_alone() -> None:
    async with serving(VirtualClock()) as (batches, _):
        calls = (batches.act(row(1)), batches.act(row(2, first=0.0)), batches.act(row(3)))
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert (first, third) == ((1.0,), (3.0,))
        assert isinstance(second, PolicyError)


async def test_who_is_cancelled_changes_nothing_for_the_others() -> None:
    clock = VirtualClock()
    async with serving(clock) as (batches, runtime), asyncio.TaskGroup() as tasks:
        gone, stays = (tasks.create_task(batches.act(row(best))) for best in (1, 2))
        await turns()
        gone.cancel()
        await turns()
        clock.set(1_000_000)
        assert await stays == (2.0,)
        assert runtime.asked == [1]


async def test_more_than_may_wait_are_sent_away() -> None:
    clock = VirtualClock()
    async with serving(clock, max_waiting=3) as (batches, _):
        answers = await asyncio.gather(*(batches.act(row(1)) for _ in range(5)), return_exceptions=True)
        assert answers[:3] == [(1.0,)] * 3
        assert [type(answer) for answer in answers[3:]] == [NotServed] * 2


async def test_the_end_is_told_to_whoever_waits() -> None:
    async with serving(VirtualClock()) as (batches, _):
        asked = asyncio.gather(batches.act(row(1)), return_exceptions=True)
        await turns()
    assert [type(answer) for answer in await asked] == [NotServed]
    with pytest.raises(NotServed):
        await batches.act(row(1))


async def test_nothing_of_an_observation_is_kept() -> None:
    clock = VirtualClock()
    async with serving(clock) as (batches, _):
        observation = row(1)
        asked = asyncio.gather(batches.act(observation))
        await turns()
        observation[:] = row(3)
        clock.set(1_000_000)
        assert list(await asked) == [(1.0,)]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_waiting": 2}, {"max_wait_s": -1.0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    runtime: Any = Counting()
    with pytest.raises(ValueError, match="make no sense"):
        MicroBatches(runtime, VirtualClock(), **{"batch_size": 3, "max_wait_s": 0.001, **options})
