"""Fixtures of the bundle tests."""

from pathlib import Path

import pytest

from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from tests.bundles.samples import export_sample


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="session")
def trust(key: SigningKey) -> TrustStore:
    return TrustStore.of([key])


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Path:
    return export_sample(tmp_path_factory.mktemp("bundles"), key)


@pytest.fixture
def files(bundle: Path) -> dict[str, bytes]:
    return read_files(str(bundle))
