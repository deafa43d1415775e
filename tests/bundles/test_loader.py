import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundles import TorchScriptPolicy, load_bundle
from bundles.actions import ActionMapping
from bundles.errors import BundleRefused
from bundles.loader import stage, verify_files
from bundles.manifest import GOLDEN_NAME, MANIFEST_NAME, POLICY_NAME, PROOF_NAME, SIGNATURE_NAME, Expectation, Space
from bundles.signing import SigningKey, TrustStore, sign
from bundles.verifier import Verifier
from messages import RejectCode
from tests.bundles.evil import evil_policy, load_unchecked
from tests.bundles.samples import (
    crafted_policy,
    export_sample,
    resigned,
    tiny_module,
    with_weights,
    write_all,
)


def refusal(directory: Path, trust: TrustStore | None, *, allow_unsigned: bool = False) -> RejectCode:
    with pytest.raises(BundleRefused) as caught:
        load_bundle(directory, trust=trust, allow_unsigned=allow_unsigned)
    return caught.value.code


def test_a_good_bundle_loads_and_acts_as_its_model(bundle: Path, trust: TrustStore) -> None:
    import torch

    loaded = load_bundle(bundle, trust=trust)
    observation = np.array([0.5, -1.0, 2.0, 0.1], np.float32)
    action, _ = tiny_module()(torch.from_numpy(observation[None]))
    assert loaded.runtime.act(observation) == (float(action[0]),)


def test_predict_is_as_stable_baselines_users_know_it(bundle: Path, trust: TrustStore) -> None:
    policy = TorchScriptPolicy.load_bundle(bundle, trust)
    action, info = policy.predict([0.5, -1.0, 2.0, 0.1], deterministic=True)
    assert isinstance(action, int)
    assert info["outputs"].shape == (3,)
    actions, _ = policy.predict(np.zeros((5, 4)))
    assert actions.shape == (5,)
    with pytest.raises(ValueError, match="greedy"):
        policy.predict(np.zeros(4), deterministic=False)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (POLICY_NAME, RejectCode.DIGEST_MISMATCH),
        (GOLDEN_NAME, RejectCode.DIGEST_MISMATCH),
        (MANIFEST_NAME, RejectCode.BAD_SIGNATURE),
        (SIGNATURE_NAME, RejectCode.BAD_SIGNATURE),
    ],
)
@pytest.mark.parametrize("where", [0.1, 0.5, 0.99])
def test_one_tampered_byte_is_refused(
    tmp_path: Path, files: dict[str, bytes], trust: TrustStore, name: str, code: RejectCode, where: float
) -> None:
    content = bytearray(files[name])
    content[int(where * len(content))] ^= 1
    found = refusal(write_all(tmp_path, {**files, name: bytes(content)}), trust)
    # A changed key id in the envelope is another, unknown signer.
    assert found is code or (name == SIGNATURE_NAME and found is RejectCode.UNTRUSTED_KEY)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (POLICY_NAME, RejectCode.MISSING_FILE),
        (GOLDEN_NAME, RejectCode.MISSING_FILE),
        (MANIFEST_NAME, RejectCode.MISSING_FILE),
        (SIGNATURE_NAME, RejectCode.UNSIGNED),
    ],
)
def test_a_missing_file_is_refused(
    tmp_path: Path, files: dict[str, bytes], trust: TrustStore, name: str, code: RejectCode
) -> None:
    del files[name]
    assert refusal(write_all(tmp_path, files), trust) is code


def test_the_proof_is_not_needed(tmp_path: Path, files: dict[str, bytes], trust: TrustStore) -> None:
    del files[PROOF_NAME]
    load_bundle(write_all(tmp_path, files), trust=trust)


def test_a_file_that_is_not_listed_is_refused(tmp_path: Path, files: dict[str, bytes], trust: TrustStore) -> None:
    assert refusal(write_all(tmp_path, {**files, "policy.onnx": b"x"}), trust) is RejectCode.UNLISTED_FILE


def test_an_unsigned_bundle_loads_only_when_told_so(tmp_path: Path, trust: TrustStore) -> None:
    directory = export_sample(tmp_path, None)
    assert refusal(directory, trust) is RejectCode.UNSIGNED
    assert load_bundle(directory, trust=trust, allow_unsigned=True).manifest.sequence == 7


def test_nothing_is_trusted_without_a_trust_store(bundle: Path) -> None:
    assert refusal(bundle, None) is RejectCode.UNTRUSTED_KEY
    assert load_bundle(bundle, allow_unsigned=True).manifest.sequence == 7


def test_allowing_unsigned_forgives_no_wrong_signature(
    tmp_path: Path, files: dict[str, bytes], key: SigningKey, trust: TrustStore
) -> None:
    directory = write_all(tmp_path, {**files, SIGNATURE_NAME: sign(b"other", key)})
    assert refusal(directory, trust, allow_unsigned=True) is RejectCode.BAD_SIGNATURE
    revoked = TrustStore.of([key], revoked=[key.key_id])
    assert refusal(write_all(tmp_path, files), revoked, allow_unsigned=True) is RejectCode.REVOKED_KEY


def test_another_digest_than_announced_is_refused(files: dict[str, bytes], trust: TrustStore) -> None:
    with pytest.raises(BundleRefused) as caught:
        verify_files(files, trust, sha256="0" * 64)
    assert caught.value.code is RejectCode.DIGEST_MISMATCH


def test_what_was_not_expected_is_refused(bundle: Path, trust: TrustStore) -> None:
    with pytest.raises(BundleRefused) as caught:
        load_bundle(bundle, trust=trust, expected=Expectation(strategy="other"))
    assert caught.value.code is RejectCode.WRONG_STRATEGY


def test_weights_that_are_not_numbers_are_refused(
    tmp_path: Path, files: dict[str, bytes], key: SigningKey, trust: TrustStore
) -> None:
    policy = with_weights(files[POLICY_NAME], float("nan"))
    assert refusal(write_all(tmp_path, resigned(files, key, {POLICY_NAME: policy})), trust) is RejectCode.NOT_FINITE


def test_other_weights_fail_the_golden_vectors(
    tmp_path: Path, files: dict[str, bytes], key: SigningKey, trust: TrustStore
) -> None:
    policy = with_weights(files[POLICY_NAME], 0.3)
    directory = write_all(tmp_path, resigned(files, key, {POLICY_NAME: policy}))
    assert refusal(directory, trust) is RejectCode.GOLDEN_MISMATCH


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["return (torch.argmax(obs, 1), torch.slice(obs, 1, 0, 2))"], RejectCode.WRONG_SHAPE),
        (["return (torch.to(torch.argmax(obs, 1), 6), torch.slice(obs, 1, 0, 3))"], RejectCode.WRONG_SHAPE),
        (["return (torch.argmax(obs, 0), torch.slice(obs, 1, 0, 3))"], RejectCode.WRONG_SHAPE),
        (["return (torch.argmax(obs, 1), torch.to(torch.slice(obs, 1, 0, 3), 7))"], RejectCode.WRONG_SHAPE),
        (["return (torch.argmax(obs, 1), torch.sum(obs))"], RejectCode.WRONG_SHAPE),
        (["return (torch.argmax(obs, 1), torch.to(obs, 15))"], RejectCode.LOAD_FAILED),
        (["return obs"], RejectCode.LOAD_FAILED),
        (["return (obs, torch.mm(obs, obs))"], RejectCode.LOAD_FAILED),
        (["return (torch.nonsense, obs)"], RejectCode.FORBIDDEN_CODE),
        (["return (torch.argmax(obs, 1, 2, 3, 4), obs)"], RejectCode.LOAD_FAILED),
    ],
)
def test_graphs_with_other_answers_than_promised_are_refused(
    tmp_path: Path, files: dict[str, bytes], key: SigningKey, trust: TrustStore, lines: list[str], code: RejectCode
) -> None:
    changed = resigned(files, key, {POLICY_NAME: crafted_policy(lines)})
    assert refusal(write_all(tmp_path, changed), trust) is code


def test_golden_actions_must_be_of_the_action_space(
    tmp_path: Path, files: dict[str, bytes], key: SigningKey, trust: TrustStore
) -> None:
    actions = ActionMapping(kind="continuous", max_position=1.0)
    changed = resigned(files, key, action_space=Space(kind="box", shape=(1,)), actions=actions)
    assert refusal(write_all(tmp_path, changed), trust) is RejectCode.WRONG_SHAPE


def test_a_policy_that_runs_code_while_it_is_loaded_never_is(
    tmp_path: Path, files: dict[str, bytes], key: SigningKey, trust: TrustStore
) -> None:
    written = tmp_path / "written"
    evil = evil_policy(written)
    directory = write_all(tmp_path / "bundle", resigned(files, key, {POLICY_NAME: evil}))
    assert refusal(directory, trust) is RejectCode.FORBIDDEN_CODE
    assert not written.exists()
    load_unchecked(evil)
    assert written.exists()


async def test_staging_goes_the_whole_road(bundle: Path, trust: TrustStore) -> None:
    digest = load_bundle(bundle, trust=trust).digest
    async with Verifier() as verifier:
        loaded = await stage(bundle.as_uri(), digest, trust=trust, verifier=verifier)
        assert loaded.digest == digest
        with pytest.raises(BundleRefused) as caught:
            await stage(bundle.as_uri(), "0" * 64, trust=trust, verifier=verifier)
        assert caught.value.code is RejectCode.DIGEST_MISMATCH


def test_importing_bundles_imports_neither_torch_nor_stable_baselines() -> None:
    code = "import sys, bundles; print([m for m in ('torch', 'stable_baselines3', 'gymnasium') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
