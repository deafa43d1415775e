"""Whatever bytes arrive, the answer is a refusal with a code, never another error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bundles.archive import parse_constants, unpack
from bundles.errors import BundleRefused
from bundles.golden import decode_golden
from bundles.manifest import GOLDEN_NAME, MANIFEST_NAME, POLICY_NAME, SIGNATURE_NAME, decode_manifest
from bundles.scan import check_archive, check_code
from bundles.signing import TrustStore, verify


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
    for _ in range(400):
        try:
            read(mutated(content, random))
        except BundleRefused:
            continue
