"""Every attack is refused with its own code, on each road, inside 5 s and bounded memory, and nothing is written."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bundles import load_bundle
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from bundles.verifier import Verifier
from tests.bundles.attacks import ATTACKS
from tests.bundles.attacks_code import CODE_ATTACKS
from tests.bundles.hostile import Attack, Prey, loaded_refusal, staged_refusal
from tests.bundles.samples import export_sample, tiny_module

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


ALL = [*ATTACKS, *CODE_ATTACKS]


@pytest.mark.parametrize("attack", [attack for attack in ALL if not attack.endless], ids=lambda attack: attack.name)
async def test_load_bundle_refuses_it(attack: Attack, prey: Prey, bundle: Path) -> None:
    load_bundle(bundle, trust=prey.trust)
    assert loaded_refusal(attack, prey) is attack.code


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: attack.name)
async def test_staging_refuses_it(attack: Attack, prey: Prey, verifier: Verifier) -> None:
    assert await staged_refusal(attack, prey, verifier) is attack.code
