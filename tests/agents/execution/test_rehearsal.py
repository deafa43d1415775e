"""Rehearsals run the code of decisions and touch nothing that is live."""

import asyncio

import pytest

from agents.execution.config import ExecutionConfig
from agents.execution.rehearsal import KEEP_WARM_SECONDS, Rehearsal, active_in, keep_warm
from agents.execution.scope import Scope
from agents.execution.shard import Shard
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import ServingBundle
from agents.risk.limits.file import Limits
from bundles.errors import PolicyError
from bundles.features import Floats32
from messages import RejectCode, SystemClock, VirtualClock
from tests.agents.execution.stepping import advance
from tests.builders import DIGEST, OTHER_DIGEST, Scripted, X, activated, bundle, quote, ready_inputs, shard

CONFIG = ExecutionConfig(decisions=DecisionConfig())


class Counting:
    """Goes long and short in turn, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def act(self, observation: Floats32) -> tuple[float, ...]:
        self.asked += 1
        return (2.0,) if self.asked % 2 else (0.0,)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


def rehearsal_of(live: Shard, *bundles: ServingBundle) -> Rehearsal:
    scope = Scope(
        instruments={"X": X},
        strategies={"X": "s"},
        limits=Limits.convert({"defaults": {"max_messages_per_s": 1, "max_repeated_executions": 10}}),
        trust=None,
    )
    return Rehearsal(live, scope, CONFIG, {one.sha256: one for one in bundles}, partitions=1)


def live_shard(serving: ServingBundle) -> Shard:
    live = shard(serving)
    advance(live, [quote()], *ready_inputs())
    return live


def test_a_rehearsal_asks_the_policy_and_books_orders_over_and_over_and_changes_nothing_live() -> None:
    policy = Counting()
    serving = bundle(policy)
    live = live_shard(serving)
    before, asked = live.snapshot(), policy.asked
    rehearsal = rehearsal_of(live, serving)
    for _ in range(400):
        rehearsal.once(SystemClock())
    scratch = rehearsal._shard
    assert policy.asked - asked == 200
    # No window of the gate fills, whatever the limits; the venue of the rehearsal fills every order.
    assert scratch._next_seq > 150
    assert not scratch.desks["X"].account.is_unanswered
    assert live.snapshot() == before


def test_memory_stays_as_it_is() -> None:
    serving = bundle(Counting())
    rehearsal = rehearsal_of(live_shard(serving), serving)
    for _ in range(200):
        rehearsal.once(SystemClock())
    size = len(rehearsal._shard.snapshot())
    for _ in range(2_000):
        rehearsal.once(SystemClock())
    # The ledger remembers finished orders up to a bound; nothing else may grow.
    assert len(rehearsal._shard._ledger.snapshot().finished) <= 1024
    assert len(rehearsal._journal) == 0
    assert len(rehearsal._shard.snapshot()) < size * 12


def test_its_processor_time_is_counted() -> None:
    serving = bundle(Counting())
    rehearsal = rehearsal_of(live_shard(serving), serving)
    before = KEEP_WARM_SECONDS._value.get()
    rehearsal.once(SystemClock())
    assert KEEP_WARM_SECONDS._value.get() > before


def test_without_an_active_bundle_there_is_nothing_to_rehearse() -> None:
    live = shard()
    rehearsal = rehearsal_of(live)
    rehearsal.once(SystemClock())
    assert rehearsal._shard.market_to == 0


def test_another_active_bundle_calls_for_a_new_rehearsal() -> None:
    one, other = bundle(Counting()), bundle(Counting(), sha256=OTHER_DIGEST)
    live = shard(one, other)
    advance(live, [quote()], *ready_inputs())
    rehearsal = rehearsal_of(live, one, other)
    assert rehearsal.active == active_in(live) == (("X", DIGEST),)
    advance(live, [quote()], activated(OTHER_DIGEST, offset=9))
    assert rehearsal.active != active_in(live)


def test_a_policy_that_fails_does_not_end_a_rehearsal() -> None:

    serving = bundle(Scripted(PolicyError(RejectCode.NOT_FINITE, "no")))
    rehearsal = rehearsal_of(live_shard(serving), serving)
    for _ in range(20):
        rehearsal.once(SystemClock())
    assert rehearsal._shard.market_to == 20


@pytest.mark.parametrize("busy_poll", [False, True])
async def test_it_rehearses_while_nothing_comes_and_anew_when_another_bundle_is_active(busy_poll: bool) -> None:
    one, other = bundle(Counting()), bundle(Counting(), sha256=OTHER_DIGEST)
    live = shard(one, other)
    advance(live, [quote()], *ready_inputs())
    made: list[Rehearsal] = []
    calls = 0

    def idle() -> Shard | None:
        nonlocal calls
        calls += 1
        if calls == 5:
            advance(live, [quote()], activated(OTHER_DIGEST, offset=9))
        if calls == 10:
            task.cancel()
        return None if calls % 2 else live

    def new(of: Shard) -> Rehearsal:
        made.append(rehearsal_of(of, one, other))
        return made[-1]

    task = asyncio.create_task(keep_warm(SystemClock(), ExecutionConfig(busy_poll=busy_poll), idle, new))
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    assert [rehearsal._shard.market_to for rehearsal in made] == [2, 3]


async def test_on_a_virtual_clock_nothing_is_rehearsed() -> None:
    task = asyncio.create_task(keep_warm(VirtualClock(), ExecutionConfig(), lambda: pytest.fail("asked"), rehearsal_of))
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
