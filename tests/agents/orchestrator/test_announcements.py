"""What the Orchestrator makes of a BundleReady: a Rollout, or a Rejected with the code and nothing on `control`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bundles.loader import load_bundle
from bundles.manifest import MANIFEST_NAME, POLICY_NAME
from bundles.signing import SigningKey
from messages import RejectCode, SystemClock
from tests.agents.orchestrator.world import World
from tests.bundles.samples import CREATED, export_sample


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.open()
    await world.start()
    yield world
    await world.stop()


async def test_an_older_sequence_announced_again_is_refused_and_a_newer_one_is_not(world: World) -> None:
    old, new, newest = (world.made(sequence) for sequence in (7, 8, 9))
    world.announce(old)
    assert await world.accepted() == old.digest
    world.announce(new)
    assert await world.accepted() == new.digest
    world.announce(old)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE
    world.announce(newest)
    assert await world.accepted() == newest.digest


async def test_the_sequence_that_counts_is_the_signed_one_whatever_the_announcement_says(world: World) -> None:
    old, new = world.made(7), world.made(8)
    world.announce(new)
    assert await world.accepted() == new.digest
    world.announce(old, sequence=99)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE


async def test_an_older_sequence_is_still_refused_after_a_restart(world: World) -> None:
    old, new = world.made(7), world.made(8)
    world.announce(old)
    assert await world.accepted() == old.digest
    world.announce(new)
    assert await world.accepted() == new.digest
    await world.stop()
    await world.start()
    world.announce(old)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE


async def test_an_announcement_that_says_other_than_what_is_signed_is_refused(world: World) -> None:
    bundle = world.made(7)
    for lie in ({"sequence": 2**62}, {"sequence": 0}, {"bundle_id": "another"}):
        world.announce(bundle, **lie)
        assert await world.refusal() is RejectCode.BAD_METADATA
    world.announce(bundle)
    assert await world.accepted() == bundle.digest


@pytest.mark.parametrize("sequence", [0, 2**62])
async def test_after_a_restart_a_forged_announcement_of_what_is_live_neither_opens_nor_shuts_the_door(
    world: World, sequence: int
) -> None:
    old, live, new = (world.made(sequence) for sequence in (7, 8, 9))
    world.announce(live)
    assert await world.accepted() == live.digest
    await world.stop()
    world.announce(live, sequence=sequence, bundle_id="forged")
    await world.start()
    world.announce(old)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE
    world.announce(new)
    assert await world.accepted() == new.digest


async def test_after_a_restart_without_its_store_the_announced_sequence_has_to_do(world: World) -> None:
    old, live = world.made(7), world.made(8)
    world.announce(live)
    assert await world.accepted() == live.digest
    await world.stop()
    (world.home / "bundle-8").rename(world.home / "away")
    await world.start()
    world.announce(old)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE


async def test_an_expired_bundle_is_refused(world: World) -> None:
    world.announce(world.made(7, expires=CREATED + 1))
    assert await world.refusal() is RejectCode.EXPIRED


async def test_one_that_expires_later_is_accepted(world: World) -> None:
    bundle = world.made(7, expires=SystemClock().now_ns() + 3_600_000_000_000)
    world.announce(bundle)
    assert await world.accepted() == bundle.digest


async def test_what_was_changed_after_it_was_announced_is_refused(world: World) -> None:
    bundle, other = world.made(7), world.made(8)
    (world.home / "bundle-7" / POLICY_NAME).write_bytes(other.files[POLICY_NAME])
    world.announce(bundle)
    assert await world.refusal() is RejectCode.DIGEST_MISMATCH
    (world.home / "bundle-7" / MANIFEST_NAME).write_bytes(other.files[MANIFEST_NAME])
    world.announce(bundle)
    assert await world.refusal() is RejectCode.DIGEST_MISMATCH


async def test_strangers_and_other_strategies_are_refused(world: World) -> None:
    bundle = world.made(7)
    world.announce(bundle, strategy="other")
    assert await world.refusal() is RejectCode.WRONG_STRATEGY
    unsigned = load_bundle(export_sample(world.home, None, run_name="unsigned"), allow_unsigned=True)
    world.announce(unsigned)
    assert await world.refusal() is RejectCode.UNSIGNED
    stranger = load_bundle(export_sample(world.home, SigningKey.generate(), run_name="stranger"), allow_unsigned=True)
    world.announce(stranger)
    assert await world.refusal() is RejectCode.UNTRUSTED_KEY
