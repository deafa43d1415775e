import base64
import copy
import os
import pickle
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bundles.errors import BundleRefused, KeyRefused
from bundles.signing import (
    MAX_SIGNATURES,
    Envelope,
    SigningKey,
    TrustStore,
    add_signature,
    pre_authentication_encoding,
    sign,
    signers,
    verify,
)
from messages import RejectCode

CONTENT = b'{"policy_id":"p"}\n'


def refusal(envelope: bytes | None, trust: TrustStore, content: bytes = CONTENT) -> RejectCode:
    with pytest.raises(BundleRefused) as caught:
        verify(content, envelope, trust)
    return caught.value.code


def test_pre_authentication_encoding_is_that_of_dsse() -> None:
    assert pre_authentication_encoding(b"hello") == b"DSSEv1 37 application/vnd.tickpilot.bundle+json 5 hello"


def test_a_trusted_signature_is_accepted(key: SigningKey, trust: TrustStore) -> None:
    assert verify(CONTENT, sign(CONTENT, key), trust) == key.key_id


@pytest.mark.parametrize(
    "envelope", [None, b"", b'{"payloadType":"application/vnd.tickpilot.bundle+json","signatures":[]}']
)
def test_no_signature_is_unsigned(envelope: bytes | None, trust: TrustStore) -> None:
    assert refusal(envelope, trust) is RejectCode.UNSIGNED


@pytest.mark.parametrize(
    "envelope",
    [b"{", b"[]", b"\xff", b"[" * 60_000, b" " * 100_000, b'{"payloadType":"x","signatures":[]}', b'{"signatures":[]}'],
)
def test_what_is_no_envelope_is_a_bad_signature(envelope: bytes, trust: TrustStore) -> None:
    assert refusal(envelope, trust) is RejectCode.BAD_SIGNATURE


def test_one_changed_byte_of_the_content_is_a_bad_signature(key: SigningKey, trust: TrustStore) -> None:
    assert refusal(sign(CONTENT, key), trust, CONTENT + b" ") is RejectCode.BAD_SIGNATURE


@pytest.mark.parametrize("sig", ["", "AAAA", "****", "A" * 88])
def test_a_signature_of_other_bytes_is_bad(sig: str, key: SigningKey, trust: TrustStore) -> None:
    envelope = msgspec.json.decode(sign(CONTENT, key), type=Envelope)
    signature = msgspec.structs.replace(envelope.signatures[0], sig=sig)
    changed = msgspec.json.encode(msgspec.structs.replace(envelope, signatures=(signature,)))
    assert refusal(changed, trust) is RejectCode.BAD_SIGNATURE


def test_an_unknown_key_is_untrusted(trust: TrustStore) -> None:
    assert refusal(sign(CONTENT, SigningKey.generate()), trust) is RejectCode.UNTRUSTED_KEY


def test_a_revoked_key_is_refused_though_it_is_trusted(key: SigningKey) -> None:
    assert refusal(sign(CONTENT, key), TrustStore.of([key], revoked=[key.key_id])) is RejectCode.REVOKED_KEY


def test_one_trusted_signature_suffices(key: SigningKey) -> None:
    revoked = SigningKey.generate()
    envelope = add_signature(CONTENT, sign(CONTENT, revoked), key)
    assert verify(CONTENT, envelope, TrustStore.of([key, revoked], revoked=[revoked.key_id])) == key.key_id


@pytest.mark.parametrize("is_first", [True, False])
def test_a_revoked_key_spoils_its_own_signature_alone(key: SigningKey, *, is_first: bool) -> None:
    revoked = SigningKey.generate()
    first, second = (revoked, key) if is_first else (key, revoked)
    envelope = add_signature(CONTENT, sign(CONTENT, first), second)
    assert verify(CONTENT, envelope, TrustStore.of([key, revoked], revoked=[revoked.key_id])) == key.key_id
    assert refusal(envelope, TrustStore.of([revoked], revoked=[revoked.key_id])) is RejectCode.REVOKED_KEY
    assert refusal(envelope, TrustStore()) is RejectCode.UNTRUSTED_KEY


def test_another_key_signs_beside_the_first_and_the_same_key_anew(key: SigningKey, trust: TrustStore) -> None:
    other, third = SigningKey.generate(), SigningKey.generate()
    envelope = add_signature(CONTENT, add_signature(CONTENT, None, key), other)
    assert signers(envelope) == (key.key_id, other.key_id)
    again = add_signature(CONTENT + b" ", envelope, key)
    assert signers(again) == (other.key_id, key.key_id)
    assert verify(CONTENT + b" ", again, trust) == key.key_id
    assert verify(CONTENT, envelope, TrustStore.of([other])) == other.key_id
    assert refusal(envelope, TrustStore.of([third])) is RejectCode.UNTRUSTED_KEY
    assert refusal(again, TrustStore.of([other]), CONTENT + b" ") is RejectCode.BAD_SIGNATURE


def test_a_wrong_signature_of_a_trusted_key_does_not_hide_a_right_one(key: SigningKey) -> None:
    other = SigningKey.generate()
    stale = add_signature(CONTENT + b" ", sign(CONTENT, other), key)
    assert verify(CONTENT + b" ", stale, TrustStore.of([key, other])) == key.key_id


def test_an_envelope_holds_sixteen_signatures_and_no_more(key: SigningKey, trust: TrustStore) -> None:
    envelope = sign(CONTENT, key)
    for _ in range(MAX_SIGNATURES - 1):
        envelope = add_signature(CONTENT, envelope, SigningKey.generate())
    assert verify(CONTENT, envelope, trust) == key.key_id
    with pytest.raises(BundleRefused, match="16 signatures already"):
        add_signature(CONTENT, envelope, SigningKey.generate())
    assert len(signers(add_signature(CONTENT, envelope, key))) == MAX_SIGNATURES


def test_nothing_is_added_to_what_is_no_envelope(key: SigningKey) -> None:
    with pytest.raises(BundleRefused, match="--replace"):
        add_signature(CONTENT, b"{", key)


def test_keys_survive_their_files(tmp_path: Path) -> None:
    key = SigningKey.generate()
    key.write(tmp_path / "trainer.key")
    assert (tmp_path / "trainer.key").stat().st_mode & 0o777 == 0o600
    trust = TrustStore.read(tmp_path)
    assert verify(CONTENT, sign(CONTENT, SigningKey.read(tmp_path / "trainer.key")), trust) == key.key_id


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    SigningKey.generate().write(tmp_path / "trainer.key")
    with pytest.raises(KeyRefused, match="another name"):
        SigningKey.generate().write(tmp_path / "trainer.key")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    SigningKey.generate().write(tmp_path / "trainer.key")
    (tmp_path / "trainer.key").chmod(0o644)
    with pytest.raises(KeyRefused, match="chmod 600"):
        SigningKey.read(tmp_path / "trainer.key")


def secrets_of(path: Path) -> list[str]:
    """The private key as it may turn up in a text: its PEM's body, and the raw bytes in hex, base64 and repr."""
    pem = path.read_text()
    raw = load_pem_private_key(pem.encode(), None).private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return [pem.splitlines()[1], raw.hex(), base64.b64encode(raw).decode(), repr(raw)[2:-1]]


def test_a_key_shows_nothing_of_itself(tmp_path: Path) -> None:
    key = SigningKey.generate()
    assert repr(key) == f"SigningKey(key_id={key.key_id!r})"
    key.write(tmp_path / "trainer.key")
    shown = [repr(key), str(key), f"{key}", repr(vars(key)), repr(TrustStore.of([key])), sign(CONTENT, key).decode()]
    for unfit in (pickle.dumps, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins):
        with pytest.raises(TypeError) as caught:
            unfit(key)
        shown.append(str(caught.value))
    assert [secret for secret in secrets_of(tmp_path / "trainer.key") for text in shown if secret in text] == []


@pytest.mark.parametrize("damage", ["cut", "readable", "password"])
def test_an_error_about_a_key_file_shows_nothing_of_it(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "trainer.key"
    SigningKey.generate().write(path)
    secrets = secrets_of(path)
    if damage == "cut":
        path.write_text(path.read_text()[:-40])
    if damage == "readable":
        path.chmod(0o644)
    if damage == "password":
        private = load_pem_private_key(path.read_bytes(), None)
        path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    with pytest.raises(KeyRefused) as caught:
        SigningKey.read(path)
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    shown = " ".join(f"{error} {error!r}" for error in chain)
    assert [secret for secret in secrets if secret in shown] == []


def test_a_key_file_is_never_readable_by_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SigningKey.generate().write(tmp_path / "trainer.key")
    finally:
        os.umask(before)
    modes = [(tmp_path / f"trainer{end}").stat().st_mode & 0o777 for end in (".key", ".pub")]
    assert modes == [0o600, 0o644]


def test_the_revoked_file_is_read_with_comments(tmp_path: Path) -> None:
    key = SigningKey.generate()
    key.write(tmp_path / "trainer.key")
    (tmp_path / "revoked").write_text(f"# lost in May\n\n{key.key_id}  # laptop\n")
    assert refusal(sign(CONTENT, key), TrustStore.read(tmp_path)) is RejectCode.REVOKED_KEY


@pytest.mark.parametrize(("name", "content"), [("revoked", "oops\n"), ("x.pub", "no key")])
def test_a_trust_directory_that_cannot_be_read_whole_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(KeyRefused):
        TrustStore.read(tmp_path)


def test_a_missing_trust_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="no such trust directory"):
        TrustStore.read(tmp_path / "nowhere")
