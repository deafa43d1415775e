"""docs/bundles.md says what the code does: every table, list and worked example in it is compared with the code."""

import base64
import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct
from typer.main import get_command

from agents.cli.main import app
from bundles import archive, golden, registry, signing
from bundles.actions import ActionMapping
from bundles.errors import BundleRefused
from bundles.export.proof import MIN_PROOF_OBSERVATIONS, Proof
from bundles.features import Feature, FeatureSpec
from bundles.manifest import (
    ALLOWED_FILES,
    LISTED_FILES,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    REQUIRED_FILES,
    BundleFile,
    Input,
    Manifest,
    Space,
    bundle_id,
    encode_manifest,
)
from bundles.runtimes import onnx_names
from bundles.scan import onnx as scan_onnx
from bundles.scan import torchscript as scan
from bundles.signing import SigningKey, TrustStore
from messages import RejectCode
from tests.bundles.metadata_reference import rows_of
from tests.bundles.samples import manifest_of

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "bundles.md").read_text()
STRUCTS = (Manifest, Space, Input, BundleFile, FeatureSpec, Feature, ActionMapping)


def section(title: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    marks = re.search(rf"^(#+) {re.escape(title)}$", TEXT, re.MULTILINE)
    assert marks is not None, f"no heading {title!r}"
    rest = TEXT[marks.end() :]
    end = re.search(rf"^#{{1,{len(marks[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def table(text: str) -> list[list[str]]:
    """The cells of the first table, without its head."""
    lines = text[text.index("\n|") :].strip().splitlines()
    rows = [line for number, line in enumerate(lines) if all(before.startswith("|") for before in lines[: number + 1])]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows[2:]]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_struct_of_the_metadata_is_there() -> None:
    assert re.findall(r"^### (\w+)$", section("metadata.json"), re.MULTILINE) == [each.__name__ for each in STRUCTS]


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_each_key_stands_there_with_its_type_and_default(struct: type[Struct]) -> None:
    documented = [(key.strip("`"), kind, default) for key, kind, default, _ in table(section(struct.__name__))]
    wanted = rows_of(struct)
    assert documented == wanted, "\n".join(f"| `{key}` | {kind} | {default} |" for key, kind, default in wanted)


def test_the_action_spaces_are_those_of_the_mappings(files: dict[str, bytes]) -> None:
    rows = table(section("Parts that have to agree"))
    kinds: set[Any] = set()
    for actions, spaces in rows:
        kind, *others = quoted(actions)
        offsets = (None, 0) if others or kind == "hybrid" else ()
        mapping = msgspec.convert({"kind": kind, "max_position": 1.0, "limit_offsets": offsets}, ActionMapping)
        kinds.add(kind)
        allowed = dict(re.findall(r"`(\w+)`, `shape` \[(\d?)\]", spaces))
        assert allowed
        for name, shape in itertools.product(Space.__annotations__["kind"].__args__, ("", "1", "2", "3")):
            size = {"shape": (int(shape),)} if shape else {}
            space = msgspec.convert({"kind": name, "n": mapping.choices, **size}, Space)
            changed = msgspec.structs.replace(manifest_of(files), actions=mapping, action_space=space)
            if allowed.get(name) == shape:
                encode_manifest(changed)
            else:
                with pytest.raises(BundleRefused):
                    encode_manifest(changed)
    assert kinds == set(ActionMapping.__annotations__["kind"].__args__)


def test_the_files_are_those_of_the_format() -> None:
    rows = {name.strip("`"): (need, by) for name, need, by, _ in table(section("Files"))}
    assert set(rows) == ALLOWED_FILES
    assert {name for name, (need, _) in rows.items() if need == "required"} == {*REQUIRED_FILES, MANIFEST_NAME}
    assert {name for name, (_, by) in rows.items() if by == "its digest in `metadata.json`"} == LISTED_FILES


def test_the_reason_codes_are_the_closed_list() -> None:
    assert [row[0].strip("`") for row in table(section("Reason codes"))] == [code.value for code in RejectCode]


def test_each_step_names_reason_codes_alone_and_all_are_said_somewhere() -> None:
    named = {text for text in quoted(section("Loading, in order")) if re.fullmatch(r"[a-z]+-?[a-z]+", text)}
    others = {"files", "instruments", "expires", "sequence", "control", "forward", "actions", "limits"}
    assert named - others == {code.value for code in RejectCode}


def test_the_operations_are_those_of_the_scan() -> None:
    assert quoted(section("What a bundle may compute").split("They mean")[0]) == sorted(scan.ALLOWED_OPERATIONS)
    code = section("policy.pt").split("**The code**")[1]
    lists = {
        "keyword arguments only": scan.ALLOWED_KEYWORDS,
        "one of the texts": {f'"{text}"' for text in scan._STRINGS},
        "TYPE made of": scan._TYPES,
        "(not": scan._RESERVED,
    }
    for words, allowed in lists.items():
        after = code.split(words)[1].lstrip()
        named = re.match(r"(?:`[^`]+`,?\s*)+", after)
        assert named is not None, words
        assert set(quoted(named[0])) == allowed, words
    primitives = re.findall(r"ops\.prim\.(\w+)", code)
    assert set(primitives) == scan.ALLOWED_PRIMITIVES
    assert scan.MUST_BE_FALSE == {"batch_norm": 5, "dropout": 2}
    assert "`batch_norm`'s sixth and `dropout`'s third argument are `False`" in code


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (registry.MAX_BUNDLE_BYTES, "at most 256 MiB"),
        (MAX_MANIFEST_BYTES, "at most 1 MiB"),
        (signing.MAX_ENVELOPE_BYTES, "at most 64 KiB"),
        (signing.MAX_SIGNATURES, "1 to 16 signatures"),
        (archive._MAX_ENTRIES, "At most 4,096 entries"),
        (archive._MAX_ENTRIES * archive._MAX_ENTRY_BYTES, "at most 512 KiB"),
        (scan.MAX_CODE_BYTES, "at most 128 KiB"),
        (scan.MAX_DEPTH, "at most 100 deep"),
        (golden.MIN_VECTORS, "256 to"),
        (golden.MAX_VECTORS, "to 65,536 rows"),
        (golden.SINGLE_VECTORS, "first 32 one by one"),
        (MIN_PROOF_OBSERVATIONS, "at least 10,000"),
    ],
)
def test_each_limit_is_named(value: int, words: str) -> None:
    assert words in TEXT
    number = re.search(r"([\d,]+)(?: (KiB|MiB))?(?!.*\d)", words)
    assert number is not None
    scale = {None: 1, "KiB": 2**10, "MiB": 2**20}[number[2]]
    assert value in {int(text.replace(",", "")) * scale for text in re.findall(r"[\d,]+", words) if text != ","}


def test_the_proof_has_these_figures() -> None:
    assert set(quoted(section("proof.json"))) == set(Proof.__struct_fields__)


def test_the_onnx_operations_and_limits_are_those_of_its_scan() -> None:
    text = section("Further forms")
    listed = quoted(text.split("of ONNX's own these:")[1])
    assert listed == sorted(scan_onnx.ALLOWED_OPERATIONS)
    ir, opsets = scan_onnx.IR_VERSIONS, scan_onnx.OPSETS
    assert f"(IR version {ir.start} to {ir.stop - 1}, opset {opsets.start} to {opsets.stop - 1})" in text
    assert f"at most {scan_onnx.MAX_NODES:,} nodes" in text
    assert f"at most 2^{scan_onnx.MAX_ELEMENTS.bit_length() - 1}" in text
    assert {onnx_names.OBSERVATION, onnx_names.ACTION, onnx_names.OUTPUTS} <= set(quoted(text))


def test_the_storages_are_those_of_the_archive() -> None:
    found = re.findall(r"`(\w+Storage)` \((\d)", section("policy.pt"))
    assert {name: int(size) for name, size in found} == archive.STORAGE_BYTES


def test_the_worked_example_holds() -> None:
    rows = {re.split(r" \(", what)[0]: value.strip("`") for what, value in table(section("Worked example"))}
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(rows["private key"])))
    payload = bytes.fromhex(rows["payload"])
    envelope, pem = re.findall(r"```(?:json)?\n(.*?)```", section("Worked example"), re.DOTALL)
    assert rows["public key"] == key.public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    assert rows["key id"] == key.key_id == hashlib.sha256(bytes.fromhex(rows["public key"])).hexdigest()
    assert rows["digest of the payload"] == hashlib.sha256(payload).hexdigest()
    assert bytes.fromhex(rows["signed bytes"]) == signing.pre_authentication_encoding(payload)
    assert bytes.fromhex(rows["signature"]) == key.sign(bytes.fromhex(rows["signed bytes"]))
    assert base64.b64decode(json.loads(envelope)["signatures"][0]["sig"]) == bytes.fromhex(rows["signature"])
    assert envelope.strip().encode() == signing.sign(payload, key)
    assert signing.verify(payload, envelope.encode(), TrustStore.of([key])) == key.key_id
    assert pem.encode() == key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_the_bundle_id_is_made_as_it_says(files: dict[str, bytes]) -> None:
    content = json.loads(files[MANIFEST_NAME])
    made = {
        "actions": content["actions"],
        "features": None,
        "graph": content["files"]["policy.pt"]["sha256"],
        "limits": content["limits"],
        "strategy": content["strategy"],
    }
    (shape,) = re.findall(r"```\n(\{.*?)\n```", section("Bundle id"))
    assert re.findall(r'"(\w+)":', shape) == list(made)
    text = json.dumps(made, sort_keys=True, separators=(",", ":"))
    assert bundle_id(manifest_of(files)) == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_the_hash_of_features_is_made_as_it_says() -> None:
    (shape,) = re.findall(r'`(\{"features":.*?\})`', section("FeatureSpec"))
    library, own = Feature(name="return", params={"events": 8}), Feature(name="skew", source="0" * 64)
    listed = json.loads(shape.replace("...", '{"name":"skew","params":{},"source":"' + "0" * 64 + '"}'))
    text = json.dumps(listed, sort_keys=True, separators=(",", ":"))
    assert FeatureSpec(features=(library, own)).digest == hashlib.sha256(text.encode()).hexdigest()


def test_each_command_of_the_group_is_there_with_options_that_exist() -> None:
    group = get_command(app).commands["bundle"]  # type: ignore[attr-defined]
    documented = re.findall(r"tickpilot bundle (\w+)([^`]*)", section("Commands"))
    assert {*(name for name, _ in documented), "unpin"} == set(group.commands)
    for name, rest in documented:
        options = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z]+", rest)) <= options, name
