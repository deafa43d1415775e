"""Hostile bundles that are refused before anything of them is loaded: storage, signature, metadata, fit."""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from bundles.manifest import GOLDEN_NAME, MANIFEST_NAME, POLICY_NAME, PROOF_NAME, SIGNATURE_NAME, Expectation
from bundles.signing import PAYLOAD_TYPE, SigningKey, TrustStore, pre_authentication_encoding, sign
from messages import RejectCode
from tests.bundles.hostile import Attack, Prey
from tests.bundles.samples import CREATED, OBS, write_all

SPARSE_BYTES = 10 * 2**30


def without(name: str) -> Callable[[Prey], dict[str, bytes]]:
    return lambda prey: {other: content for other, content in prey.files.items() if other != name}


def plus(name: str, content: bytes = b"import os\n") -> Callable[[Prey], dict[str, bytes]]:
    return lambda prey: {**prey.files, name: content}


def swapped(*names: str) -> Callable[[Prey], dict[str, bytes]]:
    """These files come from another good bundle, signed by the same key."""
    return lambda prey: {**prey.files, **{name: prey.other[name] for name in names}}


def sparse(name: str) -> Callable[[Prey], Path]:
    def make(prey: Prey) -> Path:
        directory = write_all(prey.room / "bundle", prey.files)
        os.truncate(directory / name, SPARSE_BYTES)
        return directory

    return make


def instead_of(name: str, put: Callable[[Path, Prey], None]) -> Callable[[Prey], Path]:
    """The file is replaced by something that is no plain file."""

    def make(prey: Prey) -> Path:
        directory = write_all(prey.room / "bundle", prey.files)
        (directory / name).unlink()
        put(directory / name, prey)
        return directory

    return make


def link_to_good(path: Path, prey: Prey) -> None:
    outside = write_all(prey.room / "outside", prey.files)
    path.symlink_to(outside / path.name)


def many_files(prey: Prey) -> dict[str, bytes]:
    return {**prey.files, **{f"part-{number}": b"" for number in range(100)}}


def resealed(prey: Prey, manifest_bytes: bytes) -> dict[str, bytes]:
    """Signed again with the trusted key."""
    return {**prey.files, MANIFEST_NAME: manifest_bytes, SIGNATURE_NAME: sign(manifest_bytes, prey.key)}


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Prey], dict[str, bytes]]:
    def make(prey: Prey) -> dict[str, bytes]:
        content = json.loads(prey.files[MANIFEST_NAME])
        change(content)
        return resealed(prey, json.dumps(content).encode())

    return make


def rewritten(old: bytes, new: bytes) -> Callable[[Prey], dict[str, bytes]]:
    def make(prey: Prey) -> dict[str, bytes]:
        assert old in prey.files[MANIFEST_NAME]
        return resealed(prey, prey.files[MANIFEST_NAME].replace(old, new, 1))

    return make


def listing(name: str) -> Callable[[Prey], dict[str, bytes]]:
    """metadata.json lists a file by this name as well."""
    entry = {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
    return edited(lambda content: content["files"].update({name: entry}))


def of_size(size: int) -> Callable[[dict[str, Any]], None]:
    """Observations of another size than the graph and the golden ones."""

    def change(content: dict[str, Any]) -> None:
        content["obs_shape"] = [size]
        content["obs_space"]["shape"] = [size]
        content["inputs"][0]["shape"] = [size]

    return change


def of_choices(count: int) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["action_space"]["n"] = [count]
        content["actions"]["levels"] = [-1.0, 1.0, 0.5, 0.25][:count]

    return change


def continuous(content: dict[str, Any]) -> None:
    content["action_space"] = {"kind": "box", "shape": [1], "dtype": "float32"}
    content["actions"] = {"kind": "continuous", "max_position": 1.0}


def enveloped(*signatures: Mapping[str, str], kind: str = PAYLOAD_TYPE) -> bytes:
    return msgspec.json.encode({"payloadType": kind, "signatures": signatures})


def entry(keyid: str, signature: bytes) -> dict[str, str]:
    return {"keyid": keyid, "sig": base64.b64encode(signature).decode()}


def signature_by(make: Callable[[Prey, bytes], bytes | None]) -> Callable[[Prey], dict[str, bytes]]:
    """The good bundle with another metadata.json.sig; `make` gets (prey, bytes that a signature covers)."""

    def build(prey: Prey) -> dict[str, bytes]:
        envelope = make(prey, pre_authentication_encoding(prey.files[MANIFEST_NAME]))
        return {**prey.files, SIGNATURE_NAME: envelope or b""}

    return build


def of_rsa(prey: Prey, message: bytes) -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return enveloped(entry("ab" * 32, key.sign(message, PKCS1v15(), hashes.SHA256())))


def of_ecdsa(prey: Prey, message: bytes) -> bytes:
    """By another kind of key, under the trusted key's id."""
    key = ec.generate_private_key(ec.SECP256R1())
    return enveloped(entry(prey.key.key_id, key.sign(message, ec.ECDSA(hashes.SHA256()))))


def malleable(prey: Prey, message: bytes) -> bytes:
    """The same signature in other letters: the last digit of base64 has four bits that no one reads."""
    text = base64.b64encode(prey.key.sign(message)).decode()
    return enveloped({"keyid": prey.key.key_id, "sig": text[:-3] + chr(ord(text[-3]) + 1) + "=="})


def twice(prey: Prey, message: bytes) -> bytes:
    """Two lists of signatures: which one counts would depend on the reader."""
    good = json.dumps([entry(prey.key.key_id, prey.key.sign(message))])
    return f'{{"payloadType":"{PAYLOAD_TYPE}","signatures":[],"signatures":{good}}}'.encode()


STRANGER = SigningKey.generate()


def revoking(prey: Prey) -> TrustStore:
    return TrustStore.of([prey.key], revoked=[prey.key.key_id])


def nobody(_: Prey) -> TrustStore:
    return TrustStore()


def _attacks(group: str, code: RejectCode, **makes: Callable[[Prey], Any]) -> list[Attack]:
    return [Attack(name=f"{group}: {name.replace('_', ' ')}", code=code, make=make) for name, make in makes.items()]


STORAGE = [
    *_attacks(
        "address",
        RejectCode.UNREACHABLE,
        nothing_there=lambda prey: prey.room / "nothing",
        another_protocol=lambda _: "ssh://host/bundle",
        chained=lambda _: "simplecache::file:///tmp/bundle",
    ),
    *_attacks(
        "10 GB, sparse",
        RejectCode.TOO_LARGE,
        policy=sparse(POLICY_NAME),
        golden=sparse(GOLDEN_NAME),
        proof=sparse(PROOF_NAME),
        metadata=sparse(MANIFEST_NAME),
        signature=sparse(SIGNATURE_NAME),
    ),
    *_attacks(
        "no plain file",
        RejectCode.BAD_NAME,
        link=instead_of(POLICY_NAME, link_to_good),
        link_of_the_metadata=instead_of(MANIFEST_NAME, link_to_good),
        link_to_nowhere=instead_of(POLICY_NAME, lambda path, _: path.symlink_to("/nowhere")),
        pipe=instead_of(POLICY_NAME, lambda path, _: os.mkfifo(path)),
        directory=instead_of(POLICY_NAME, lambda path, _: path.mkdir()),
    ),
    *_attacks(
        "extra file",
        RejectCode.BAD_NAME,
        module=plus("run.py"),
        hidden=plus(".hidden"),
        capital=plus("POLICY.PT"),
        with_space=plus("policy.pt "),
    ),
    *_attacks("extra file", RejectCode.UNLISTED_FILE, second_graph=plus("policy.onnx"), a_hundred=many_files),
    *_attacks(
        "missing",
        RejectCode.MISSING_FILE,
        policy=without(POLICY_NAME),
        golden=without(GOLDEN_NAME),
        metadata=without(MANIFEST_NAME),
    ),
    *_attacks(
        "swapped with another good bundle",
        RejectCode.DIGEST_MISMATCH,
        policy=swapped(POLICY_NAME),
        golden=swapped(GOLDEN_NAME),
        both=swapped(POLICY_NAME, GOLDEN_NAME),
        all_that_is_signed=swapped(MANIFEST_NAME, SIGNATURE_NAME),
    ),
    *_attacks(
        "swapped with another good bundle",
        RejectCode.BAD_SIGNATURE,
        metadata=swapped(MANIFEST_NAME),
        signature=swapped(SIGNATURE_NAME),
        all_but_signature=swapped(MANIFEST_NAME, POLICY_NAME, GOLDEN_NAME),
    ),
]

SIGNATURES = [
    *_attacks(
        "signature",
        RejectCode.UNSIGNED,
        missing=without(SIGNATURE_NAME),
        empty=signature_by(lambda _, __: b""),
        of_nobody=signature_by(lambda _, __: enveloped()),
    ),
    *_attacks(
        "signature",
        RejectCode.UNTRUSTED_KEY,
        by_a_stranger=signature_by(lambda prey, _: sign(prey.files[MANIFEST_NAME], STRANGER)),
        by_an_rsa_key=signature_by(of_rsa),
    ),
    *_attacks(
        "signature",
        RejectCode.BAD_SIGNATURE,
        by_an_ecdsa_key_in_the_trusted_name=signature_by(of_ecdsa),
        by_a_stranger_in_the_trusted_name=signature_by(
            lambda prey, message: enveloped(entry(prey.key.key_id, STRANGER.sign(message)))
        ),
        without_the_framing=signature_by(
            lambda prey, _: enveloped(entry(prey.key.key_id, prey.key.sign(prey.files[MANIFEST_NAME])))
        ),
        of_another_kind=signature_by(
            lambda prey, message: enveloped(entry(prey.key.key_id, prey.key.sign(message)), kind="text/plain")
        ),
        cut=signature_by(lambda prey, message: enveloped(entry(prey.key.key_id, prey.key.sign(message)[:-1]))),
        in_other_letters=signature_by(malleable),
        of_seventeen=signature_by(lambda prey, _: enveloped(*[entry("ab" * 32, b"x" * 64)] * 17)),
        with_two_lists=signature_by(twice),
        no_json=signature_by(lambda _, __: b"\xff\xfe"),
        deep=signature_by(lambda _, __: b"[" * 60_000),
        long=signature_by(lambda _, __: b" " * 2**20),
    ),
    Attack(
        name="signature: by a revoked key",
        code=RejectCode.REVOKED_KEY,
        make=lambda prey: prey.files,
        trust=revoking,
    ),
    Attack(
        name="signature: nobody is trusted",
        code=RejectCode.UNTRUSTED_KEY,
        make=lambda prey: prey.files,
        trust=nobody,
    ),
]

METADATA = [
    *_attacks(
        "metadata",
        RejectCode.BAD_METADATA,
        doubled_key=rewritten(b"{", b'{"sequence":99,'),
        doubled_key_within=rewritten(b'"files": {', b'"files": {"policy.pt":{"sha256":"' + b"0" * 64 + b'","size":1},'),
        unknown_key=edited(lambda content: content.update(code="x")),
        version_of_the_future=edited(lambda content: content.update(version=2)),
        digest_in_capitals=edited(lambda content: content["files"][POLICY_NAME].update(sha256="A" * 64)),
        not_a_number=edited(lambda content: content.update(output_tolerance=float("nan"))),
        forgiving_everything=edited(lambda content: content.update(output_tolerance=1e9)),
        no_json=lambda prey: resealed(prey, b"\xff"),
        empty=lambda prey: resealed(prey, b""),
        deep=lambda prey: resealed(prey, b'{"training":' + b"[" * 500_000),
        long_number=rewritten(b'"sequence": 7', b'"sequence": ' + b"9" * 5000),
    ),
    *_attacks("metadata", RejectCode.TOO_LARGE, long=lambda prey: resealed(prey, b" " * (2**20 + 1))),
    *_attacks(
        "listed name",
        RejectCode.BAD_NAME,
        upwards=listing("../policy.pt"),
        absolute=listing("/etc/passwd"),
        below=listing("code/policy.pt"),
        backslashes=listing("..\\policy.pt"),
        with_a_zero=listing("policy.pt\0"),
        itself=listing(MANIFEST_NAME),
    ),
    *_attacks(
        "metadata",
        RejectCode.UNKNOWN_FEATURES,
        features_of_the_future=edited(lambda content: content.update(features={"features": [{"name": "oracle"}]})),
    ),
    *_attacks(
        "shape",
        RejectCode.WRONG_SHAPE,
        other_observations=edited(of_size(OBS + 1)),
        huge_observations=edited(of_size(2**20)),
        contradictory=edited(lambda content: content.update(obs_shape=[9])),
        fewer_choices=edited(of_choices(2)),
        levels_for_other_choices=edited(lambda content: content["action_space"].update(n=[4])),
        continuous_actions=edited(continuous),
    ),
]


def _unfit(name: str, code: RejectCode, expected: Expectation) -> Attack:
    return Attack(name=f"unfit: {name}", code=code, make=lambda prey: prey.files, expected=expected)


UNFIT = [
    _unfit("another strategy", RejectCode.WRONG_STRATEGY, Expectation(strategy="other")),
    _unfit("another instrument", RejectCode.WRONG_INSTRUMENTS, Expectation(instruments=("AAA", "CCC"))),
    _unfit("other observations", RejectCode.WRONG_SHAPE, Expectation(obs_shape=(OBS + 1,))),
    _unfit("an older sequence", RejectCode.OLD_SEQUENCE, Expectation(min_sequence=8)),
    Attack(
        name="unfit: expired",
        code=RejectCode.EXPIRED,
        make=edited(lambda content: content.update(expires=CREATED + 1)),
        expected=Expectation(now_ns=CREATED + 1),
    ),
]

ATTACKS = [*STORAGE, *SIGNATURES, *METADATA, *UNFIT]
