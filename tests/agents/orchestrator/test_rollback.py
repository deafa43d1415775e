"""A rollback is the last word: the Orchestrator, up or started later, activates nothing against it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.orchestrator.rollback import NothingBefore, rollback_of
from messages import Activate, decode
from messages.control_fold import ControlFold
from tests.agents.orchestrator.world import CONTROL, World

A, B = "a" * 64, "b" * 64


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.open()
    await world.start()
    yield world
    await world.stop()


def activate(instrument: str, sha256: str, expects: int, strategy: str = "s") -> Activate:
    return Activate(
        strategy=strategy,
        instrument=instrument,
        bundle_id=sha256[:4],
        sha256=sha256,
        expects=expects,
        ts=0,
        who="o",
    )


def test_each_instrument_goes_back_to_what_it_had_and_twice_is_forth_again() -> None:
    fold = ControlFold()
    history = [activate("X", A, -1), activate("Y", A, -1), activate("X", B, 0), activate("Z", B, -1, strategy="t")]
    for offset, message in enumerate(history):
        assert fold.apply(offset, message)
    (back,) = rollback_of(fold, "s", who="ann", ts=7)
    assert (back.instrument, back.sha256, back.expects, back.ts) == ("X", A, 2, 7)
    assert fold.apply(4, back)
    (forth,) = rollback_of(fold, "s", who="ann", ts=8)
    assert (forth.sha256, forth.expects) == (B, 4)


def test_without_a_bundle_before_there_is_no_way_back() -> None:
    fold = ControlFold()
    fold.apply(0, activate("X", A, -1))
    with pytest.raises(NothingBefore, match="no strategies"):
        rollback_of(fold, "s", who="ann", ts=0)


async def test_a_rollback_stays_whatever_the_orchestrator_knows_or_when_it_starts(world: World) -> None:
    first, second, third = (world.made(sequence) for sequence in (1, 2, 3))
    for bundle in (first, second):
        world.announce(bundle)
        assert await world.accepted() == bundle.digest
        world.staged(first, second)
        await world.trades(bundle)
    world.write(*rollback_of(world.fold(), "momentum", who="ann", ts=0))
    rolled_back = len(world.broker.log(CONTROL).records)
    await world.stop()
    await world.start()
    world.staged(first, second)
    world.announce(third)
    assert await world.accepted() == third.digest
    since = [decode("control", record.value) for record in world.broker.log(CONTROL).records[rolled_back:]]
    assert not [message for message in since if isinstance(message, Activate)]
    world.staged(first, second, third)
    await world.trades(third)


async def test_a_rollback_ends_a_rollout_that_is_still_being_staged(world: World) -> None:
    first, second, third, fourth = (world.made(sequence) for sequence in (1, 2, 3, 4))
    for bundle in (first, second):
        world.announce(bundle)
        assert await world.accepted() == bundle.digest
        world.staged(first, second)
        await world.trades(bundle)
    world.announce(third)
    assert await world.accepted() == third.digest
    world.write(*rollback_of(world.fold(), "momentum", who="ann", ts=0))
    world.staged(first, second, third)
    world.announce(fourth)
    assert await world.accepted() == fourth.digest
    assert world.fold().active["momentum", "AAA"].sha256 == first.digest
