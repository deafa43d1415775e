"""Ed25519 keys and DSSE envelopes over metadata.json's exact bytes."""

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from msgspec import Meta, Struct

from bundles.errors import BundleRefused, KeyRefused
from messages.fields import Digest
from messages.status import RejectCode

PAYLOAD_TYPE = "application/vnd.tickpilot.bundle+json"
MAX_ENVELOPE_BYTES = 64 * 1024
MAX_SIGNATURES = 16
# Room for the signatures of other kinds of keys: they don't count here, and don't spoil the envelope either.
_MAX_SIG_LENGTH = 2048
_MAX_KEY_BYTES = 4096


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signature: `keyid` is the sha256 (hex) of the raw public key, `sig` base64."""

    keyid: Digest
    sig: Annotated[str, Meta(max_length=_MAX_SIG_LENGTH)]


class Envelope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """metadata.json.sig: a DSSE envelope without its payload, which is metadata.json itself."""

    payload_type: str
    signatures: Annotated[tuple[Signature, ...], Meta(max_length=MAX_SIGNATURES)]


class SigningKey:
    """A private Ed25519 key. Its text form shows the key id alone."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.key_id = key_id(self.public)

    def __repr__(self) -> str:
        return f"SigningKey(key_id={self.key_id!r})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is never pickled; pass the path of its file instead")

    @classmethod
    def generate(cls) -> Self:
        """Return a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a PEM file. Raises KeyRefused when it is no Ed25519 key or others than its owner may read it."""
        path = Path(path)
        try:
            if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise KeyRefused(path, "others may read this private key", f"run `chmod 600 {path}`")
            private = load_pem_private_key(_read_small(path), password=None)
        except TypeError as error:
            raise KeyRefused(path, "a private key under a password can't be used", _KEYGEN) from error
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise KeyRefused(path, f"no readable private key ({type(error).__name__})", _KEYGEN) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyRefused(path, _of_another_kind(private), _KEYGEN)
        return cls(private)

    def write(self, path: str | Path) -> None:
        """Write a PEM file that only its owner may read, and `.pub` beside it.

        Raises KeyRefused when one of them exists or can't be written; then neither is left behind.
        """
        path = Path(path)
        public_path = path.with_suffix(".pub")
        if path == public_path:
            raise KeyRefused(path, ".pub is for the public half", "choose another name, e.g. trainer.key")
        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write_new(path, pem, 0o600)
        try:
            _write_new(public_path, public, 0o644)
        except KeyRefused:
            path.unlink()
            raise

    def sign(self, message: bytes) -> bytes:
        """Return the raw 64-byte signature."""
        return self._private.sign(message)


_KEYGEN = "make one with `tickpilot bundle keygen`"


class TrustStore(Struct, frozen=True):
    """Whose signatures count: raw public keys by key id, and key ids that no longer do."""

    keys: Mapping[str, bytes] = {}
    revoked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, keys: Iterable[SigningKey], revoked: Iterable[str] = ()) -> Self:
        """Return a store that trusts these keys."""
        return cls({key.key_id: _raw(key.public) for key in keys}, frozenset(revoked))

    @classmethod
    def read(cls, directory: str | Path) -> Self:
        """Read `*.pub` (PEM) and the optional file `revoked`: a key id a line, `#` begins a comment.

        Raises KeyRefused for a missing directory, a file that is no Ed25519 public key or a line that is no key id:
        trust is never guessed.
        """
        directory = Path(directory)
        if not directory.is_dir():
            raise KeyRefused(directory, "no such trust directory", "make it and copy the trusted .pub files into it")
        keys = dict(_read_public(path) for path in sorted(directory.glob("*.pub")))
        revoked = directory / "revoked"
        return cls(keys, _read_revoked(revoked) if revoked.exists() else frozenset())


def key_id(public: Ed25519PublicKey) -> str:
    """Return the sha256 (hex) of the raw public key."""
    return hashlib.sha256(_raw(public)).hexdigest()


def pre_authentication_encoding(payload: bytes) -> bytes:
    """Return what is signed: DSSE v1's PAE (https://github.com/secure-systems-lab/dsse)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(manifest_bytes: bytes, key: SigningKey) -> bytes:
    """Return the bytes of metadata.json.sig with one signature."""
    return msgspec.json.encode(Envelope(payload_type=PAYLOAD_TYPE, signatures=(_signature(manifest_bytes, key),)))


def add_signature(manifest_bytes: bytes, envelope_bytes: bytes | None, key: SigningKey) -> bytes:
    """Return the envelope with this key's signature at its end; the key's older ones go, those of other keys stay.

    Without an envelope it is `sign`. Nobody's approval is lost by another's; what it is worth is judged by `verify`,
    where one trusted, unrevoked signature suffices.
    Raises BundleRefused BAD_SIGNATURE for what is no DSSE envelope, or has no room for one more.
    """
    if not envelope_bytes:
        return sign(manifest_bytes, key)
    envelope = _decode_envelope(envelope_bytes)
    others = tuple(signature for signature in envelope.signatures if signature.keyid != key.key_id)
    if len(others) >= MAX_SIGNATURES:
        raise BundleRefused(RejectCode.BAD_SIGNATURE, f"metadata.json.sig holds {len(others)} signatures already")
    signatures = (*others, _signature(manifest_bytes, key))
    return msgspec.json.encode(Envelope(payload_type=PAYLOAD_TYPE, signatures=signatures))


def signers(envelope_bytes: bytes | None) -> tuple[str, ...]:
    """Return the key ids that an envelope names, in order; whether they signed is for `verify` to say.

    Raises BundleRefused BAD_SIGNATURE for what is no DSSE envelope.
    """
    return tuple(signature.keyid for signature in _decode_envelope(envelope_bytes).signatures) if envelope_bytes else ()


def _signature(manifest_bytes: bytes, key: SigningKey) -> Signature:
    raw = key.sign(pre_authentication_encoding(manifest_bytes))
    return Signature(keyid=key.key_id, sig=base64.b64encode(raw).decode())


def verify(manifest_bytes: bytes, envelope_bytes: bytes | None, trust: TrustStore) -> str:
    """Return the key id of a trusted, unrevoked key that signed these exact bytes; one such signature suffices.

    As in DSSE, signatures beside it don't count, whatever they are. Without one, the gravest thing found is said.
    Raises BundleRefused: UNSIGNED without a signature, BAD_SIGNATURE when a trusted key's signature is wrong or the
    envelope is no DSSE envelope, REVOKED_KEY or UNTRUSTED_KEY when no other key signed.
    """
    if not envelope_bytes:
        raise BundleRefused(RejectCode.UNSIGNED, "metadata.json.sig is missing or empty")
    envelope = _decode_envelope(envelope_bytes)
    if not envelope.signatures:
        raise BundleRefused(RejectCode.UNSIGNED, "metadata.json.sig holds no signature")
    message = pre_authentication_encoding(manifest_bytes)
    refusals = []
    for signature in envelope.signatures:
        code = _check_signature(signature, message, trust)
        if code is None:
            return signature.keyid
        refusals.append((_GRAVITY.index(code), code, signature.keyid))
    _, code, keyid = min(refusals)
    raise BundleRefused(code, f"{_SAID[code]}, key {keyid}", key_id=keyid)


_GRAVITY = (RejectCode.BAD_SIGNATURE, RejectCode.REVOKED_KEY, RejectCode.UNTRUSTED_KEY)
_SAID = {
    RejectCode.BAD_SIGNATURE: "the signature does not fit metadata.json",
    RejectCode.REVOKED_KEY: "the key was revoked",
    RejectCode.UNTRUSTED_KEY: "no trusted key signed this",
}


def _check_signature(signature: Signature, message: bytes, trust: TrustStore) -> RejectCode | None:
    if signature.keyid in trust.revoked:
        return RejectCode.REVOKED_KEY
    raw = trust.keys.get(signature.keyid)
    if raw is None:
        return RejectCode.UNTRUSTED_KEY
    try:
        signed = base64.b64decode(signature.sig, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(signed, message)
    except (InvalidSignature, binascii.Error, ValueError):
        return RejectCode.BAD_SIGNATURE
    # The last digit holds bits that decoding drops: without this, one signature could be written in many ways.
    return None if base64.b64encode(signed).decode() == signature.sig else RejectCode.BAD_SIGNATURE


def _decode_envelope(envelope_bytes: bytes) -> Envelope:
    if len(envelope_bytes) > MAX_ENVELOPE_BYTES:
        raise BundleRefused(RejectCode.BAD_SIGNATURE, f"metadata.json.sig has {len(envelope_bytes)} bytes")
    try:
        json.loads(envelope_bytes, object_pairs_hook=_unique)
        envelope = msgspec.json.decode(envelope_bytes, type=Envelope)
    except (ValueError, RecursionError) as error:
        raise BundleRefused(RejectCode.BAD_SIGNATURE, f"metadata.json.sig is no DSSE envelope: {error}") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise BundleRefused(RejectCode.BAD_SIGNATURE, f"payloadType is {envelope.payload_type!r}, not {PAYLOAD_TYPE}")
    return envelope


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Which of two equal keys counts differs between readers.
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key is there twice")
    return content


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _read_public(path: Path) -> tuple[str, bytes]:
    try:
        public = load_pem_public_key(_read_small(path))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused(
            path, f"no readable public key ({type(error).__name__})", "remove it or copy it again"
        ) from error
    if not isinstance(public, Ed25519PublicKey):
        raise KeyRefused(path, _of_another_kind(public), "remove it from the trust directory")
    return key_id(public), _raw(public)


def _read_revoked(path: Path) -> frozenset[str]:
    lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    try:
        return frozenset(msgspec.convert([line for line in lines if line], list[Digest]))
    except msgspec.ValidationError as error:
        raise KeyRefused(path, f"a line is no key id ({error})", "write one 64-digit key id a line") from error


def _of_another_kind(key: object) -> str:
    kind = type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey").lstrip("_")
    return f"it holds a key of kind {kind}; bundles are signed with Ed25519 alone"


def _write_new(path: Path, content: bytes, mode: int) -> None:
    # Never over an existing file, and never readable by others, not even for a moment.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise KeyRefused(path, error.strerror or "can't be written", "choose another name") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read_small(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_KEY_BYTES)
