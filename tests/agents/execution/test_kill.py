"""Halt, flatten, resume, scope by scope, on a whole replica that is restarted meanwhile."""

from pathlib import Path

import pytest

from bundles.loader import load_bundle
from bundles.signing import SigningKey, TrustStore
from messages import DecisionBatch, DenialCode, Flatten, Halt, Order, Resume
from tests.agents.execution.one_replica import World
from tests.bundles.samples import export_sample

OURS = ["portfolio", "strategy:momentum", "instrument:AAA"]
OTHERS = ["strategy:other", "instrument:BBB"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    key = SigningKey.generate()
    good, trust = export_sample(tmp_path / "good", key), TrustStore.of([key])
    return World(load_bundle(good, trust=trust), good.as_uri(), trust)


def halt(scope: str) -> Halt:
    return Halt(scope=scope, level="halted", writer="ann", reason="kill", ts=0)


async def shown_twice(world: World) -> int:
    """Show both sides, one after the other; return the time before."""
    since_ns = world.show()
    await world.settled()
    world.show()
    await world.settled()
    return since_ns


async def denial(world: World) -> DenialCode:
    """Return why what the policy wants is denied: it wants to be long and short in turn, so one of two is new."""
    since_ns = await shown_twice(world)
    while True:
        _, batch = await world.next("decisions", DecisionBatch)
        for logged in batch.steps:
            for decision in logged.decisions:
                if decision.denial is not None and logged.step.clock_ns >= since_ns:
                    return decision.denial.code


async def test_kills_of_each_scope_latch_over_a_restart_flatten_on_demand_and_end_with_their_own_resume(
    world: World,
) -> None:
    """One replica for all of it: starting one takes seconds."""
    await world.start()
    for scope in OTHERS:
        world.write(halt(scope))
    held = await world.trade()
    offsets = {scope: world.write(halt(scope)) for scope in OURS}
    assert await denial(world) is DenialCode.HALTED
    await world.restart()
    for scope, offset in offsets.items():
        assert await denial(world) is DenialCode.HALTED
        resume(world, scope, offset)
    for scope in OURS:
        await kill_and_flatten(world, scope, held)
        held = await world.trade()
        assert not held.reduce_only
    await world.stop()


async def kill_and_flatten(world: World, scope: str, held: Order) -> None:
    """Halt a scope, close what it holds, resume it."""
    offset = world.write(halt(scope))
    assert await denial(world) is DenialCode.HALTED
    world.write(Flatten(scope=scope, on=True, who="ann", reason="out", ts=0))
    closing = await world.trade()
    assert (closing.reduce_only, closing.quantity, closing.side != held.side) == (True, held.quantity, True)
    world.write(Flatten(scope=scope, on=False, who="ann", reason="is out", ts=0))
    for clears in ((), (offset + 1,)):
        resume(world, scope, *clears)
        assert await denial(world) is DenialCode.HALTED
    resume(world, scope, offset)


def resume(world: World, scope: str, *clears: int) -> None:
    world.write(Resume(scope=scope, clears=clears, who="ann", reason="seen", ts=0))
