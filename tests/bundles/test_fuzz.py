"""Whatever bytes arrive, the answer is a refusal with a code, never another error."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from bundles.archive import parse_constants, unpack
from bundles.errors import BundleRefused
from bundles.features import Feature, FeatureSpec
from bundles.golden import decode_golden
from bundles.manifest import GOLDEN_NAME, MANIFEST_NAME, POLICY_NAME, SIGNATURE_NAME, decode_manifest
from bundles.scan.torchscript import check_archive, check_code
from bundles.signing import TrustStore, verify
from tests.bundles.samples import sample_files
from tests.fuzzing import FAMILY, JSON_FORM, Case, family, run_cases


def golden(content: bytes) -> None:
    decode_golden(content, (4,))


def envelope(content: bytes) -> None:
    verify(b"{}", content, TrustStore())


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(0, len(changed)))
        match int(random.integers(0, 4)):
            case 0:
                changed[at] ^= 1 << int(random.integers(0, 8))
            case 1:
                changed[at : at + 4] = random.bytes(4)
            case 2:
                del changed[at : at + int(random.integers(1, 40))]
            case _:
                changed[at:at] = changed[: int(random.integers(1, 40))]
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "entry", "read"),
    [
        (MANIFEST_NAME, None, decode_manifest),
        (SIGNATURE_NAME, None, envelope),
        (POLICY_NAME, None, check_archive),
        (POLICY_NAME, "archive/constants.pkl", parse_constants),
        (POLICY_NAME, "archive/code/__torch__/policy.py", lambda code: check_code(code, 4)),
        (GOLDEN_NAME, None, golden),
    ],
    ids=["manifest", "envelope", "archive", "constants", "code", "golden"],
)
def test_damaged_bytes_are_refused_or_read(
    files: dict[str, bytes], name: str, entry: str | None, read: Callable[[bytes], Any]
) -> None:
    content = files[name] if entry is None else unpack(files[name])[entry]
    random = np.random.default_rng(7)
    for _ in range(2_000):
        try:
            read(mutated(content, random))
        except BundleRefused:
            continue


@pytest.fixture(scope="module")
def with_features(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    features = (
        Feature(name="return", params={"events": 8}),
        Feature(name="spread"),
        Feature(name="position"),
        Feature(name="held"),
    )
    return sample_files(tmp_path_factory.mktemp("features"), None, features=FeatureSpec(features=features))


@pytest.mark.parametrize("has_features", [False, True], ids=["observations", "features"])
def test_damaged_metadata_is_refused_or_read(
    files: dict[str, bytes],
    with_features: dict[str, bytes],
    has_features: bool,
) -> None:
    """Every number, spec and mapping in it: JSON that is no JSON, numbers beyond all bounds, nesting, doubled keys."""
    metadata = json.loads((with_features if has_features else files)[MANIFEST_NAME])

    def check(case: Case) -> int:
        for value in family(JSON_FORM, case):
            with suppress(BundleRefused):
                decode_manifest(value)
        return FAMILY

    decode_manifest(JSON_FORM.pack(metadata))
    assert run_cases(st.just(metadata), check, inputs=4_000) >= 2_000


def test_a_damaged_envelope_is_refused(files: dict[str, bytes], trust: TrustStore) -> None:
    def check(case: Case) -> int:
        for value in family(JSON_FORM, case):
            with suppress(BundleRefused):
                verify(files[MANIFEST_NAME], value, trust)
        return FAMILY

    assert run_cases(st.just(json.loads(files[SIGNATURE_NAME])), check, inputs=4_000) >= 2_000
