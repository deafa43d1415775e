"""Swaps, the way back, and shadows, on a whole replica: which bundle each order names, and what stays loaded."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.orchestrator.rollback import rollback_of
from agents.replay.record import read_recording, record_bus
from agents.settings import Settings, parse_settings
from bundles.actions import ActionMapping
from bundles.loader import LoadedBundle, load_bundle
from bundles.signing import SigningKey, TrustStore
from messages import Decision, DecisionBatch, Rejected, Staged, Swapped
from tests.agents.execution.one_replica import World
from tests.bundles.samples import export_sample


class Bundles:
    """Bundles of one policy that differ in the position they take."""

    def __init__(self, home: Path) -> None:
        self._home, self._key = home, SigningKey.generate()
        self.trust = TrustStore.of([self._key])
        self.uris: dict[str, str] = {}

    def settings(self) -> Settings:
        """Those of the replica that trades them."""
        self._key.write(self._home / "trainer.key")
        (self._home / "trust").mkdir()
        (self._home / "trainer.pub").rename(self._home / "trust" / "trainer.pub")
        values = {
            "trust": str(self._home / "trust"),
            "instruments": [{"instrument": "AAA", "price_step": 0.5, "quantity_step": 1.0}],
            "strategies": {"momentum": ["AAA"]},
            "limits": {"defaults": {"duplicate_window_ms": 0}},
        }
        return parse_settings(values, where="of the test")

    def made(self, number: int) -> LoadedBundle:
        actions = ActionMapping(kind="levels", max_position=float(number))
        directory = export_sample(self._home / f"{number}", self._key, sequence=number, actions=actions)
        loaded = load_bundle(directory, trust=self.trust)
        self.uris[loaded.digest] = directory.as_uri()
        return loaded


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    return Bundles(tmp_path)


@pytest.fixture
async def world(bundles: Bundles) -> AsyncIterator[World]:
    good = bundles.made(1)
    world = World(good, bundles.uris[good.digest], bundles.trust)
    await world.start()
    yield world
    await world.stop()


async def swap(world: World, bundles: Bundles, bundle: LoadedBundle) -> None:
    world.roll_out(bundles.uris[bundle.digest], bundle.digest, bundle.bundle_id)
    await world.next("status", Staged)
    world.activate(bundle.digest, bundle.bundle_id)
    _, swapped = await world.next("status", Swapped)
    assert swapped.sha256 == bundle.digest


def loaded(world: World) -> set[str]:
    return set(world.agent._staging.bundles)


async def decisions(world: World, count: int) -> list[Decision]:
    """The first so many decisions that stand on `decisions`."""
    found: list[Decision] = []
    while len(found) < count:
        _, batch = await world.next("decisions", DecisionBatch)
        found += [decision for step in batch.steps for decision in step.decisions]
    return found


async def test_the_way_back_loads_nothing_and_what_is_of_no_use_any_more_is_let_go(
    world: World, bundles: Bundles
) -> None:
    first, second, third = world.good, bundles.made(2), bundles.made(3)
    await swap(world, bundles, second)
    assert (await world.trade()).bundle_id == second.bundle_id
    staged = len(world.said("status", Staged))
    (back,) = rollback_of(world.fold(), "momentum", who="ann", ts=0)
    world.back(back)
    _, swapped = await world.next("status", Swapped)
    assert swapped.sha256 == first.digest
    assert (await world.trade()).bundle_id == first.bundle_id
    assert len(world.said("status", Staged)) == staged
    assert loaded(world) == {first.digest, second.digest}

    await swap(world, bundles, third)
    assert loaded(world) == {first.digest, third.digest}
    world.activate(second.digest, second.bundle_id)  # whoever asks for it has it loaded again
    _, swapped = await world.next("status", Swapped)
    assert swapped.sha256 == second.digest
    assert (await world.trade()).bundle_id == second.bundle_id
    assert loaded(world) == {second.digest, third.digest}


async def test_a_shadow_decides_on_every_record_and_sends_nothing_until_it_is_ended(
    world: World, bundles: Bundles, tmp_path: Path
) -> None:
    strange = export_sample(tmp_path / "strange", SigningKey.generate(), sequence=5)
    world.shadow(strange.as_uri(), load_bundle(strange, allow_unsigned=True))
    await world.next("status", Rejected)
    await world.trade()
    assert [d.shadow for d in await decisions(world, 2)] == [None, None]

    beside = bundles.made(3)
    world.shadow(bundles.uris[beside.digest], beside)
    _, staged = await world.next("status", Staged)
    assert staged.sha256 == beside.digest
    await world.settled()
    orders = [await world.trade() for _ in range(2)]
    assert {order.bundle_id for order in orders} == {world.good.bundle_id}
    answers = [d.shadow for d in await decisions(world, 4) if d.shadow is not None]
    assert [(a.bundle_id, abs(a.target or 0)) for a in answers] == [(beside.bundle_id, 3)] * 2
    assert loaded(world) == {world.good.digest, beside.digest}

    world.shadow("", None)
    await world.settled()
    await world.trade()
    assert [d.shadow for d in await decisions(world, 2)] == [None, None]
    assert loaded(world) == {world.good.digest}

    await world.stop()
    recording = tmp_path / "recording"
    await record_bus(world.bus("recorder"), recording, bundles.settings())
    assert {path.name for path in (recording / "bundles").iterdir()} == {world.good.digest, beside.digest}
    assert read_recording(recording).replay().is_equal
