"""Whatever `control` names, Execution answers on `status` and trades on with the bundle that it has."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bundles.actions import ActionMapping
from bundles.errors import BundleRefused
from bundles.loader import load_bundle
from bundles.manifest import MANIFEST_NAME, POLICY_NAME, Expectation, bundle_id, decode_manifest
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from messages import (
    DecisionBatch,
    DenialCode,
    RejectCode,
    Rejected,
    Staged,
    Swapped,
)
from tests.agents.execution.one_replica import World
from tests.bundles.attacks import ATTACKS
from tests.bundles.attacks_code import CODE_ATTACKS
from tests.bundles.hostile import Attack, Prey, announced_digest, place
from tests.bundles.samples import export_sample, resigned, tiny_module, write_all

LOST = SigningKey.generate()


def classes() -> list[Attack]:
    """One attack of each group and code that Execution judges, and what only a whole agent can be shown."""
    found: dict[tuple[str, RejectCode], Attack] = {}
    for attack in [*ATTACKS, *CODE_ATTACKS]:
        is_judged_here = attack.expected == Expectation() and attack.code is not RejectCode.REVOKED_KEY
        if is_judged_here and (not attack.endless or attack.code is RejectCode.TIMED_OUT):
            found.setdefault((attack.name.partition(":")[0], attack.code), attack)
    return [
        *found.values(),
        _signed("signature: by a revoked key", RejectCode.REVOKED_KEY, lambda prey: resigned(prey.files, LOST)),
        _signed(
            "unfit: another strategy",
            RejectCode.WRONG_STRATEGY,
            lambda prey: resigned(prey.files, prey.key, strategy="other"),
        ),
        _signed(
            "unfit: another instrument",
            RejectCode.WRONG_INSTRUMENTS,
            lambda prey: resigned(prey.files, prey.key, instruments=("BBB",)),
        ),
        _signed(
            "unfit: actions that mean no position",
            RejectCode.WRONG_SHAPE,
            lambda prey: resigned(prey.files, prey.key, actions=None),
        ),
        _signed(
            "unfit: limits that nobody knows",
            RejectCode.BAD_METADATA,
            lambda prey: resigned(prey.files, prey.key, limits={"max_positoin": 1.0}),
        ),
        _signed(
            "unfit: limits that make no sense",
            RejectCode.BAD_METADATA,
            lambda prey: resigned(prey.files, prey.key, limits={"max_position": -1.0}),
        ),
    ]


def _signed(name: str, code: RejectCode, make: Callable[[Prey], dict[str, bytes]]) -> Attack:
    return Attack(name=name, code=code, make=make)


def known_id(uri: str) -> str:
    """The bundle's id where it has one, so that it is refused for what is wrong with it."""
    try:
        return bundle_id(decode_manifest(read_files(uri)[MANIFEST_NAME]))
    except (BundleRefused, KeyError):
        return "unknown"


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
async def world(tmp_path: Path, key: SigningKey) -> AsyncIterator[World]:
    good = export_sample(tmp_path / "good", key)
    trust = TrustStore.of([key, LOST], revoked=[LOST.key_id])
    world = World(load_bundle(good, trust=trust), good.as_uri(), trust)
    await world.start()
    yield world
    await world.stop()


@pytest.mark.timeout(120)  # each class in turn, and an endless one costs a new verifier process
async def test_after_each_class_of_attack_the_old_bundle_trades_and_the_code_is_on_status(
    world: World, tmp_path: Path, key: SigningKey
) -> None:
    files = read_files(str(export_sample(tmp_path / "new", key, module=tiny_module(1), sequence=8)))
    other = read_files(str(export_sample(tmp_path / "other", key, module=tiny_module(2), sequence=9)))
    assert (await world.trade()).bundle_id == world.good.bundle_id
    for number, attack in enumerate(classes()):
        prey = Prey(files=files, other=other, key=key, trust=TrustStore.of([key]), room=tmp_path / f"room-{number}")
        prey.room.mkdir()
        uri = place(attack, prey)
        digest = announced_digest(uri)
        world.roll_out(uri, digest, known_id(uri))
        _, rejected = await world.next("status", Rejected, Staged)
        assert isinstance(rejected, Rejected), attack.name
        assert (rejected.code, rejected.sha256) == (attack.code, digest), f"{attack.name}: {rejected.detail}"
        order = await world.trade()
        assert order.bundle_id == world.good.bundle_id, attack.name
        assert not prey.marker.exists(), attack.name


async def test_activating_a_refused_bundle_moves_nothing_until_it_is_whole_again(
    world: World, tmp_path: Path, key: SigningKey
) -> None:
    new = export_sample(tmp_path / "new", key, module=tiny_module(1), sequence=8)
    loaded = load_bundle(new, trust=TrustStore.of([key]))
    policy = new / POLICY_NAME
    policy.write_bytes(policy.read_bytes()[:-1])
    world.roll_out(new.as_uri(), loaded.digest, loaded.bundle_id)
    _, rejected = await world.next("status", Rejected, Staged)
    assert isinstance(rejected, Rejected)
    assert rejected.code is RejectCode.DIGEST_MISMATCH
    world.activate(loaded.digest, loaded.bundle_id)
    _, again = await world.next("status", Rejected, Staged, Swapped)
    assert isinstance(again, Rejected)
    assert (await world.trade()).bundle_id == world.good.bundle_id

    policy.write_bytes(loaded.files[POLICY_NAME])
    world.roll_out(new.as_uri(), loaded.digest, loaded.bundle_id)
    _, swapped = await world.next("status", Rejected, Swapped)
    assert isinstance(swapped, Swapped)
    assert swapped.bundle_id == loaded.bundle_id


async def test_a_bundle_with_an_absurd_position_is_asked_and_not_obeyed(
    world: World, tmp_path: Path, key: SigningKey
) -> None:
    """What it wants is beyond the numbers that a log can hold; nothing of it gets there."""
    files = read_files(str(export_sample(tmp_path / "new", key, sequence=8)))
    absurd = write_all(
        tmp_path / "absurd", resigned(files, key, actions=ActionMapping(kind="levels", max_position=1e300))
    )
    loaded = load_bundle(absurd, trust=TrustStore.of([key]))
    world.roll_out(absurd.as_uri(), loaded.digest, loaded.bundle_id)
    world.activate(loaded.digest, loaded.bundle_id)
    await world.next("status", Swapped)
    world.show()
    _, batch = await world.next("decisions", DecisionBatch)
    while not (codes := [d.denial.code for step in batch.steps for d in step.decisions if d.denial is not None]):
        _, batch = await world.next("decisions", DecisionBatch)
    assert codes == [DenialCode.POLICY_ERROR]
