"""Every attack is refused with its own code, on each road, inside 5 s and bounded memory, and nothing is written.

The rest of the suite: every flipped byte and every cut, test_byte_flips.py; what the Orchestrator judges when a bundle
is announced (an older sequence again, expiry), tests/agents/orchestrator/test_announcements.py; that the old bundle
trades on, tests/agents/execution/test_hostile_bundles.py.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import pytest_asyncio

from bundles import load_bundle
from bundles.errors import BundleRefused
from bundles.loader import stage
from bundles.manifest import POLICY_NAME
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from bundles.verifier import Verifier
from messages import RejectCode
from tests.bundles.attacks import ATTACKS
from tests.bundles.attacks_code import CODE_ATTACKS
from tests.bundles.evil import evil_policy
from tests.bundles.hostile import Attack, Prey, loaded_refusal, opened_below, staged_refusal
from tests.bundles.samples import OBS, export_sample, resigned, tiny_module, write_all

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> dict[str, bytes]:
    return read_files(str(export_sample(tmp_path_factory.mktemp("other"), key, module=tiny_module(1), sequence=8)))


@pytest.fixture
def prey(tmp_path: Path, files: dict[str, bytes], other: dict[str, bytes], key: SigningKey, trust: TrustStore) -> Prey:
    return Prey(files=files, other=other, key=key, trust=trust, room=tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verifier() -> AsyncIterator[Verifier]:
    async with Verifier() as verifier:
        yield verifier


class Meddler:
    """A verifier; while it judges the bytes that it was given, the files are replaced."""

    def __init__(self, verifier: Verifier, replace: Callable[[], object]) -> None:
        self._verifier, self._replace = verifier, replace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._verifier, name)

    async def check(self, files: Mapping[str, bytes], timeout_s: float) -> None:
        self._replace()
        await self._verifier.check(files, timeout_s)
        self._replace()


ALL = [*ATTACKS, *CODE_ATTACKS]


@pytest.mark.parametrize("attack", [attack for attack in ALL if not attack.endless], ids=lambda attack: attack.name)
async def test_load_bundle_refuses_it(attack: Attack, prey: Prey, bundle: Path) -> None:
    load_bundle(bundle, trust=prey.trust)
    assert loaded_refusal(attack, prey) is attack.code


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: attack.name)
async def test_staging_refuses_it(attack: Attack, prey: Prey, verifier: Verifier) -> None:
    assert await staged_refusal(attack, prey, verifier) is attack.code


@pytest.mark.parametrize("attack", CODE_ATTACKS, ids=lambda attack: attack.name)
async def test_the_compiled_backend_refuses_it_too(attack: Attack, prey: Prey, bundle: Path) -> None:
    """What it can't be bothered to run, because it is no chain of layers, is refused for that."""
    load_bundle(bundle, trust=prey.trust, runtime="mlp")
    assert loaded_refusal(attack, prey, "mlp") in {attack.code, RejectCode.LOAD_FAILED}


async def test_a_file_replaced_between_verification_and_load_is_never_read(prey: Prey, verifier: Verifier) -> None:
    directory = write_all(prey.room / "bundle", prey.files)
    loaded = load_bundle(directory, trust=prey.trust)
    evil = resigned(prey.files, prey.key, {POLICY_NAME: evil_policy(prey.marker)})
    meddler = Meddler(verifier, lambda: write_all(directory, evil))
    with opened_below(directory) as opened:
        staged = await stage(str(directory), loaded.digest, trust=prey.trust, verifier=cast("Verifier", meddler))
    assert (directory / POLICY_NAME).read_bytes() == evil[POLICY_NAME]
    assert (staged.digest, staged.files) == (loaded.digest, prey.files)
    assert Counter(path.name for path in opened) == Counter(dict.fromkeys(prey.files, 1)), "each file is read once"
    assert staged.runtime.act(np.zeros(OBS, np.float32)) == loaded.runtime.act(np.zeros(OBS, np.float32))
    assert not prey.marker.exists()


async def test_another_good_bundle_put_in_its_place_after_it_was_announced_is_refused(
    prey: Prey, verifier: Verifier
) -> None:
    directory = write_all(prey.room / "bundle", prey.files)
    announced = load_bundle(directory, trust=prey.trust).digest
    write_all(directory, prey.other)
    load_bundle(directory, trust=prey.trust)
    with pytest.raises(BundleRefused) as caught:
        await stage(str(directory), announced, trust=prey.trust, verifier=verifier)
    assert caught.value.code is RejectCode.DIGEST_MISMATCH
