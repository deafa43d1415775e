from typing import Any

import msgspec
import pytest

from bundles.actions import ActionMapping
from bundles.errors import BundleRefused
from bundles.features import Feature, FeatureSpec
from bundles.manifest import (
    MANIFEST_NAME,
    BundleFile,
    Expectation,
    Input,
    Manifest,
    Space,
    bundle_id,
    decode_manifest,
    encode_manifest,
)
from messages import RejectCode


@pytest.fixture
def manifest(files: dict[str, bytes]) -> Manifest:
    return decode_manifest(files[MANIFEST_NAME])


def changed(manifest: Manifest, **changes: Any) -> Manifest:
    return msgspec.structs.replace(manifest, **changes)


def refused(manifest_bytes: bytes) -> RejectCode:
    with pytest.raises(BundleRefused) as caught:
        decode_manifest(manifest_bytes)
    return caught.value.code


def test_bytes_and_content_are_one_to_one(manifest: Manifest) -> None:
    manifest = changed(manifest, limits={"b": 2.0, "a": 1.0})
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert encode_manifest(manifest) == encode_manifest(changed(manifest, limits={"a": 1.0, "b": 2.0}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sequence": 7', b'"sequence": 7, "sequence": 8'),
        (b'"sequence": 7', b'"sequence": 7, "unknown": 8'),
        (b'"sequence": 7', b'"sequence": -1'),
        (b'"limits": {}', b'"limits": {"a": NaN}'),
        (b'"limits": {}', b'"limits": {"a": 1e999}'),
        (b'"training": {', b'"training": {"x": Infinity, '),
        (b'"version": 1', b'"version": 2'),
        (b'"limits": {}', b'"limits": ' + b"[" * 100_000),
        (b'"sequence"', b'"\xff"'),
    ],
)
def test_what_is_not_exactly_a_manifest_is_bad_metadata(files: dict[str, bytes], old: bytes, new: bytes) -> None:
    manifest_bytes = files[MANIFEST_NAME].replace(old, new)
    assert manifest_bytes != files[MANIFEST_NAME]
    assert refused(manifest_bytes) is RejectCode.BAD_METADATA


SPREAD = FeatureSpec(features=(Feature(name="spread"),))
OWN = FeatureSpec(features=(Feature(name="mine", params={"anything": -3}, source="0" * 64),))


@pytest.mark.parametrize("spec", [SPREAD.sealed, OWN.sealed], ids=["the library's", "a user's own"])
def test_features_are_read_with_their_hash(manifest: Manifest, spec: FeatureSpec) -> None:
    shaped = changed(manifest, features=spec, obs_shape=(1,), inputs=(Input(name="obs", dtype="float32", shape=(1,)),))
    assert decode_manifest(encode_manifest(shaped)).features == spec


@pytest.mark.parametrize("said", [None, OWN.digest], ids=["none", "another library's"])
def test_features_without_the_hash_that_they_have_here_are_refused(manifest: Manifest, said: str | None) -> None:
    spec = msgspec.structs.replace(SPREAD, hash=said)
    shaped = changed(manifest, features=spec, obs_shape=(1,), inputs=(Input(name="obs", dtype="float32", shape=(1,)),))
    with pytest.raises(BundleRefused, match=SPREAD.digest) as caught:
        encode_manifest(shaped)
    assert caught.value.code is RejectCode.UNKNOWN_FEATURES


def test_a_huge_manifest_is_not_parsed() -> None:
    assert refused(b" " * (2**20 + 1)) is RejectCode.TOO_LARGE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"features": FeatureSpec(features=(Feature(name="crystal_ball"),))}, RejectCode.UNKNOWN_FEATURES),
        ({"features": FeatureSpec(features=(Feature(name="spread"),))}, RejectCode.WRONG_SHAPE),
        ({"inputs": (Input(name="obs", dtype="float64", shape=(4,)),)}, RejectCode.WRONG_SHAPE),
        ({"actions": ActionMapping(kind="levels", max_position=1.0, levels=(0.0, 1.0))}, RejectCode.WRONG_SHAPE),
        ({"actions": ActionMapping(kind="continuous", max_position=1.0)}, RejectCode.WRONG_SHAPE),
        ({"action_space": Space(kind="box", shape=(1,))}, RejectCode.WRONG_SHAPE),
        ({"files": {}}, RejectCode.MISSING_FILE),
        ({"limits": {"max_position": float("nan")}}, RejectCode.BAD_METADATA),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    manifest: Manifest, changes: dict[str, Any], code: RejectCode
) -> None:
    with pytest.raises(BundleRefused) as caught:
        encode_manifest(changed(manifest, **changes))
    assert caught.value.code is code


OFFSETS = (None, 0, 2)
HYBRID = ActionMapping(kind="hybrid", max_position=1.0, limit_offsets=OFFSETS)
PAIR = ActionMapping(kind="levels", max_position=1.0, limit_offsets=OFFSETS)
HYBRID_SPACE = Space(kind="hybrid", shape=(2,), n=(3,), low=(0.0, -1.0), high=(2.0, 1.0))
PAIR_SPACE = Space(kind="multi_discrete", shape=(2,), dtype="int64", n=(3, 3))


@pytest.mark.parametrize(("actions", "space"), [(HYBRID, HYBRID_SPACE), (PAIR, PAIR_SPACE)])
def test_a_choice_of_limit_offsets_needs_an_index_of_its_own(
    manifest: Manifest, actions: ActionMapping, space: Space
) -> None:
    assert decode_manifest(encode_manifest(changed(manifest, actions=actions, action_space=space))).actions == actions


@pytest.mark.parametrize(
    ("actions", "space"),
    [
        (HYBRID, PAIR_SPACE),
        (PAIR, HYBRID_SPACE),
        (HYBRID, msgspec.structs.replace(HYBRID_SPACE, n=(4,))),
        (HYBRID, msgspec.structs.replace(HYBRID_SPACE, shape=(3,))),
        (PAIR, msgspec.structs.replace(PAIR_SPACE, n=(3, 2))),
        (PAIR, Space(kind="discrete", dtype="int64", n=(3,))),
        (msgspec.structs.replace(PAIR, limit_offsets=()), PAIR_SPACE),
        (msgspec.structs.replace(HYBRID, limit_offsets=()), HYBRID_SPACE),
        (msgspec.structs.replace(PAIR, order_type="limit"), PAIR_SPACE),
        (msgspec.structs.replace(HYBRID, kind="continuous"), Space(kind="box", shape=(1,))),
    ],
)
def test_an_action_space_that_is_not_the_mappings_is_refused(
    manifest: Manifest, actions: ActionMapping, space: Space
) -> None:
    with pytest.raises(BundleRefused) as caught:
        encode_manifest(changed(manifest, actions=actions, action_space=space))
    assert caught.value.code is RejectCode.WRONG_SHAPE


def test_only_files_of_a_bundle_may_be_listed(manifest: Manifest) -> None:
    listed = {**manifest.files, "../policy.pt": BundleFile(sha256="0" * 64, size=1)}
    with pytest.raises(BundleRefused) as caught:
        encode_manifest(changed(manifest, files=listed))
    assert caught.value.code is RejectCode.BAD_NAME


def test_the_id_is_of_the_content_not_of_its_time(manifest: Manifest) -> None:
    assert bundle_id(manifest) == bundle_id(changed(manifest, created=1, sequence=99, run_name="again", expires=5))


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"max_position": 1.0}},
        {"strategy": "other"},
        {"actions": ActionMapping(kind="levels", max_position=2.0)},
        {"features": FeatureSpec(features=(Feature(name="spread"),))},
    ],
)
def test_the_id_changes_with_what_the_policy_does(manifest: Manifest, changes: dict[str, Any]) -> None:
    assert bundle_id(manifest) != bundle_id(changed(manifest, **changes))


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        (Expectation(strategy="other"), RejectCode.WRONG_STRATEGY),
        (Expectation(instruments=("AAA", "ZZZ")), RejectCode.WRONG_INSTRUMENTS),
        (Expectation(obs_shape=(5,)), RejectCode.WRONG_SHAPE),
        (Expectation(now_ns=100), RejectCode.EXPIRED),
        (Expectation(min_sequence=8), RejectCode.OLD_SEQUENCE),
    ],
)
def test_what_the_reader_did_not_expect_is_refused(manifest: Manifest, expected: Expectation, code: RejectCode) -> None:
    with pytest.raises(BundleRefused) as caught:
        changed(manifest, expires=100).check_expected(expected)
    assert caught.value.code is code


def test_what_the_reader_expects_passes(manifest: Manifest) -> None:
    changed(manifest, expires=100).check_expected(
        Expectation(strategy="momentum", instruments=("BBB",), obs_shape=(4,), now_ns=99, min_sequence=7)
    )


def test_expiry_and_sequence_are_not_judged_unless_asked(manifest: Manifest) -> None:
    changed(manifest, expires=0, sequence=0).check_expected(Expectation(strategy="momentum"))
