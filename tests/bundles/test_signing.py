from pathlib import Path

import msgspec
import pytest

from bundles.errors import BundleRefused, KeyRefused
from bundles.signing import Envelope, SigningKey, TrustStore, pre_authentication_encoding, sign, verify
from messages import RejectCode

CONTENT = b'{"policy_id":"p"}\n'


def both(first: bytes, second: bytes) -> bytes:
    envelopes = [msgspec.json.decode(envelope, type=Envelope) for envelope in (first, second)]
    signatures = envelopes[0].signatures + envelopes[1].signatures
    return msgspec.json.encode(msgspec.structs.replace(envelopes[0], signatures=signatures))


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
    envelope = both(sign(CONTENT, revoked), sign(CONTENT, key))
    assert verify(CONTENT, envelope, TrustStore.of([key, revoked], revoked=[revoked.key_id])) == key.key_id


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


def test_a_key_shows_nothing_of_itself(key: SigningKey) -> None:
    assert repr(key) == f"SigningKey(key_id={key.key_id!r})"


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
