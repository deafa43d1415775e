"""Not one byte of a signed bundle can be other than it was signed: every flip and every cut is refused with its code.

proof.json is outside the digest: it is for people. Whatever is done to it, what trades stays the same.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from bundles.errors import BundleRefused
from bundles.loader import open_policy, verify_files
from bundles.manifest import GOLDEN_NAME, MANIFEST_NAME, POLICY_NAME, PROOF_NAME, SIGNATURE_NAME, bundle_id
from bundles.signing import TrustStore
from messages import RejectCode
from tests.bundles.samples import manifest_of

MIN_FLIPS = 5_000
# What a changed byte of each file is refused as; a changed key id in the envelope is another, unknown key's.
CODES = {
    POLICY_NAME: {RejectCode.DIGEST_MISMATCH},
    GOLDEN_NAME: {RejectCode.DIGEST_MISMATCH},
    MANIFEST_NAME: {RejectCode.BAD_SIGNATURE},
    SIGNATURE_NAME: {RejectCode.BAD_SIGNATURE, RejectCode.UNTRUSTED_KEY},
}


def refusal(files: dict[str, bytes], trust: TrustStore) -> RejectCode | None:
    try:
        verify_files(files, trust)
    except BundleRefused as refused:
        return refused.code
    return None


def flips(content: bytes, *, every_bit: bool) -> Iterator[tuple[int, int, bytes]]:
    """Every byte with every one of its bits flipped, or with one of them, another one from byte to byte."""
    for index, byte in enumerate(content):
        for bit in range(8) if every_bit else (index % 8,):
            yield index, bit, content[:index] + bytes([byte ^ 1 << bit]) + content[index + 1 :]


def cuts(content: bytes) -> Iterator[bytes]:
    """All short lengths, many in between, and all but one byte; also more than there was."""
    yield from (content[:length] for length in {*range(min(64, len(content))), *range(0, len(content), 37)})
    yield from (content[:-1], content[1:], content + b"\0", content + b"\n", content + content)


@pytest.mark.parametrize("name", CODES)
def test_every_flipped_byte_is_refused(name: str, files: dict[str, bytes], trust: TrustStore) -> None:
    assert refusal(files, trust) is None
    for index, bit, flipped in flips(files[name], every_bit=name in {MANIFEST_NAME, SIGNATURE_NAME}):
        assert refusal({**files, name: flipped}, trust) in CODES[name], f"bit {bit} of byte {index} of {name}"


def test_that_is_thousands_of_flips_over_all_that_is_signed(files: dict[str, bytes]) -> None:
    assert set(files) == {*CODES, PROOF_NAME}
    assert sum(len(files[name]) for name in CODES) >= MIN_FLIPS


@pytest.mark.parametrize("name", CODES)
def test_every_cut_or_lengthened_file_is_refused(name: str, files: dict[str, bytes], trust: TrustStore) -> None:
    wanted = CODES[name] | ({RejectCode.UNSIGNED} if name == SIGNATURE_NAME else set())
    for cut in cuts(files[name]):
        found = refusal({**files, name: cut}, trust)
        if name == SIGNATURE_NAME and cut == files[name] + b"\n":
            assert found is None  # white space around the JSON: the envelope says the same
            continue
        assert found in wanted, f"{len(cut)} bytes of {name}"


def test_a_flip_in_the_proof_changes_nothing_that_trades(files: dict[str, bytes], trust: TrustStore) -> None:
    good = verify_files(files, trust)
    for _, _, flipped in flips(files[PROOF_NAME], every_bit=False):
        changed = verify_files({**files, PROOF_NAME: flipped}, trust)
        assert (changed, bundle_id(changed)) == (good, bundle_id(good))


@pytest.mark.parametrize("proof", [None, b"", b"{", b'{"equal_actions":-1}', b"\xff" * 4096])
def test_the_policy_is_loaded_without_a_look_at_the_proof(
    proof: bytes | None, files: dict[str, bytes], trust: TrustStore
) -> None:
    changed = {name: content for name, content in files.items() if name != PROOF_NAME}
    if proof is not None:
        changed[PROOF_NAME] = proof
    verify_files(changed, trust)
    observations = np.array([[0.5, -1.0, 2.0, 0.25]], np.float32)
    answers = [open_policy(each, manifest_of(each)).forward(observations)[1] for each in (files, changed)]
    assert (answers[0] == answers[1]).all()
