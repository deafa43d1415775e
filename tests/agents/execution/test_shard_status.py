"""What a heartbeat tells of a shard: how far, how much, how fast, and what every later owner will know, too."""

import random

import pytest

from agents.execution.shard_status import Latencies, status_of
from messages import Limits
from tests.agents.execution.exactness_plot import CONFIG
from tests.agents.execution.exactness_world import World
from tests.agents.execution.stepping import LONG, advance, filled, said_by
from tests.builders import Scripted, bundle, quote, ready_inputs, shard


def test_positions_shares_and_uses_are_told() -> None:
    target = shard(bundle(Scripted(LONG)))
    opened = advance(target, [quote()], *ready_inputs())
    status = status_of(target, Latencies(), logged_to=0)
    assert (status.partition, status.control_to, status.reports_to, status.positions) == (0, 1, 0, {})
    assert (status.gross_share, status.net_share) == (2_000_000.0, 2_000_000.0)
    assert (status.gross_used, status.net_used) == (300.75, 300.75)
    advance(target, [], reports=filled(target, opened))
    status = status_of(target, Latencies(), logged_to=0)
    assert (status.reports_to, status.positions, status.gross_used) == (1, {"X": 3.0}, 300.75)


def test_answers_at_their_bounds_are_counted_once_and_choices_have_none() -> None:
    fractions = shard(bundle(Scripted(-1.0, 0.25, 1.5), kind="continuous"))
    advance(fractions, [quote(), quote(), quote()], *ready_inputs())
    status = status_of(fractions, Latencies(), logged_to=0)
    assert (status.decisions, status.saturated) == (3, 2)
    assert status_of(fractions, Latencies(), logged_to=0).decisions == 0
    choices = shard(bundle(Scripted(LONG)))
    advance(choices, [quote(), quote()], *ready_inputs())
    status = status_of(choices, Latencies(), logged_to=0)
    assert (status.decisions, status.saturated) == (2, 0)


def test_denials_of_the_share_are_counted() -> None:
    target = shard(bundle(Scripted(LONG)))
    none = Limits(version=1, changes={"shares.0.net": 0.0}, who="risk-1", reason="r", ts=0)
    advance(target, [quote(), quote()], *ready_inputs(), said_by(6, none))
    status = status_of(target, Latencies(), logged_to=0)
    assert (status.gross_denials, status.net_denials) == (0, 2)


def test_counting_changes_nothing_that_a_checkpoint_holds() -> None:
    told, silent = (shard(bundle(Scripted(LONG))) for _ in range(2))
    for target in (told, silent):
        advance(target, [quote()], *ready_inputs())
    status_of(told, Latencies(), logged_to=0)
    assert told.snapshot() == silent.snapshot()


@pytest.mark.parametrize("most_ns", [10, 31, 1_000, 10**6, 10**12])
def test_a_percentile_is_at_most_a_sixteenth_too_high(most_ns: int) -> None:
    rng = random.Random(3)
    latencies, durations = Latencies(), [rng.randint(0, most_ns) for _ in range(1_000)]
    for took_ns in durations:
        latencies.add(took_ns)
    exact = sorted(durations)[989]
    found = latencies.take_p99_us()
    assert found is not None
    assert exact < found * 1e3 <= exact * (1 + 1 / 16) + 1
    assert latencies.take_p99_us() is None


async def test_control_counts_as_logged_only_when_the_steps_are_on_decisions() -> None:
    world = World()
    await world.start()
    owner = world.own("a")
    for _ in range(4):
        await world.tick()
    runner = owner.runner
    assert runner is not None
    flushed = runner.take_status()
    assert flushed.control_logged_to == flushed.control_to > 0
    runner.step((), (said_by(50, Limits(version=1, changes={"shares.0.net": 0.5}, who="r", reason="r", ts=0)),))
    unlogged = runner.take_status()
    assert (unlogged.control_to, unlogged.net_share) == (51, 1_000_000.0)
    assert unlogged.control_logged_to == flushed.control_logged_to
    await world.advance(CONFIG.flush_interval_ms * 1_000_000)
    assert runner.take_status().control_logged_to == 51
    await world.stop()


async def test_what_a_new_owner_has_recovered_is_logged() -> None:
    world = World()
    await world.start()
    world.own("a")
    for _ in range(4):
        await world.tick()
    owner = world.own("b")
    await world.settle()
    assert owner.runner is not None
    status = owner.runner.take_status()
    assert status.control_logged_to == status.control_to > 0
    await world.stop()
