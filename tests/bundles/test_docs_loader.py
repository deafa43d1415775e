"""A loader written from docs/bundles.md alone, to prove that the page is enough: nothing of `bundles` is in it.

It follows the page's steps 2 to 10; where the files come from, and killing an endless `forward`, is its reader's.
"""

import ast
import base64
import binascii
import hashlib
import io
import json
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bundles import load_bundle
from bundles.actions import ActionMapping
from bundles.manifest import Space
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from tests.bundles.attacks import ATTACKS
from tests.bundles.attacks_code import CODE_ATTACKS
from tests.bundles.hostile import Attack, Prey
from tests.bundles.samples import OBS, export_sample, sample_files, tiny_module

KIND = "application/vnd.tickpilot.bundle+json"
FORMS = {"policy.onnx", "policy.int8.onnx", "policy.fp16.pt", "policy.pt2"}
FILES = {"metadata.json", "metadata.json.sig", "proof.json", "policy.pt", "golden.npz", *FORMS}
Files = dict[str, bytes]


class Refused(Exception):  # noqa: N818 - the page's word
    pass


def need(found: Any, code: str) -> Any:
    if not found:
        raise Refused(code)
    return found


def check_signature(files: Files, trusted: dict[str, bytes], revoked: set[str]) -> None:
    payload, envelope = files["metadata.json"], files.get("metadata.json.sig", b"")
    need(envelope, "unsigned")
    need(len(envelope) <= 64 * 1024, "bad-signature")
    content = parsed(envelope, "bad-signature")
    need(set(content) == {"payloadType", "signatures"} and content["payloadType"] == KIND, "bad-signature")
    need(content["signatures"], "unsigned")
    need(len(content["signatures"]) <= 16, "bad-signature")
    signed = b"DSSEv1 %d %s %d %s" % (len(KIND), KIND.encode(), len(payload), payload)
    found = [verdict(entry, signed, trusted, revoked) for entry in content["signatures"]]
    for code in () if "good" in found else ("bad-signature", "revoked-key", "untrusted-key"):
        need(code not in found, code)


def verdict(entry: dict[str, str], signed: bytes, trusted: dict[str, bytes], revoked: set[str]) -> str:
    if entry["keyid"] in revoked or entry["keyid"] not in trusted:
        return "revoked-key" if entry["keyid"] in revoked else "untrusted-key"
    try:
        signature = base64.b64decode(entry["sig"], validate=True)
        Ed25519PublicKey.from_public_bytes(trusted[entry["keyid"]]).verify(signature, signed)
    except (InvalidSignature, binascii.Error):
        return "bad-signature"
    return "good" if base64.b64encode(signature).decode() == entry["sig"] else "bad-signature"


def parsed(text: bytes, code: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), code)
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=lambda _: need(False, code))
    except (ValueError, RecursionError) as error:
        raise Refused(code) from error


def check_contents(files: Files, metadata: dict[str, Any]) -> None:
    listed = metadata["files"]
    need({"policy.pt", "golden.npz"} <= set(listed), "missing-file")
    need(set(listed) <= {"policy.pt", "golden.npz", *FORMS} and set(files) <= FILES, "bad-name")
    need(set(files) - {"metadata.json", "metadata.json.sig", "proof.json"} <= set(listed), "unlisted-file")
    for name, entry in listed.items():
        need(name in files, "missing-file")
        is_same = hashlib.sha256(files[name]).hexdigest() == entry["sha256"] and len(files[name]) == entry["size"]
        need(is_same, "digest-mismatch")


def entries_of(archive: bytes, code: str) -> Files:
    """Read a canonical ZIP front to back, write it again, compare."""
    entries: Files = {}
    at = 0
    while archive[at : at + 4] == b"PK\3\4":
        need(len(archive) >= at + 30, code)
        size, length = struct.unpack_from("<I", archive, at + 22)[0], struct.unpack_from("<H", archive, at + 26)[0]
        name = archive[at + 30 : at + 30 + length].decode("ascii", "replace")
        entries[name] = archive[at + 30 + length : at + 30 + length + size]
        at += 30 + length + size
    local, central = b"", b""
    for name, content in entries.items():
        facts = struct.pack("<IIIH", zlib.crc32(content), len(content), len(content), len(name))
        head = bytes.fromhex("14000000000000002100") + facts
        central += b"PK\1\2\x14\3" + head + bytes(8) + bytes.fromhex("00008001") + struct.pack("<I", len(local))
        central += name.encode()
        local += b"PK\3\4" + head + bytes(2) + name.encode() + content
    count = len(entries)
    end = b"PK\5\6" + struct.pack("<4xHHIIxx", count, count, len(central), len(local))
    need(count <= 4096 and local + central + end == archive, code)
    return entries


TENSOR = re.compile(
    rb"ctorch\._utils\n_rebuild_tensor_v2\n\(\(X\x07\x00{3}storagectorch\n(?P<storage>\w+Storage)\n"
    rb"X..\x00\x00(?P<key>\d{1,6})X\x03\x00{3}cpuJ(?P<count>.{4})tQJ(?P<offset>.{4})"
    rb"\((?P<sizes>(?:J.{4})*)t\((?P<strides>(?:J.{4})*)t\x89ccollections\nOrderedDict\n\)RtR",
    re.DOTALL,
)
WIDTHS = {
    "Double": 8,
    "Float": 4,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
}
HEAD = (
    r"class Policy\(Module\):\n  __parameters__ = \[\]\n  __buffers__ = \[\]\n"
    r"  def forward\(self: __torch__.policy.Policy(?:,\n    \w+: Tensor){%d}\) -> Tuple\[Tensor, Tensor\]:\n"
)
KEYWORDS = {"alpha", "approximate", "dtype", "rounding_mode"}
LISTED = ast.Assign, ast.Return, ast.Call, ast.Constant, ast.Name, ast.Attribute, ast.List, ast.Tuple, ast.UnaryOp


def check_code(entries: Files, input_count: int, operations: set[str]) -> None:
    text = entries.get("archive/code/__torch__/policy.py", b"").decode("latin1")
    constants = [name for name in entries if re.fullmatch(r"archive/constants/\d{1,6}", name)]
    wanted = ["data.pkl", "code/__torch__/policy.py", "*", "constants.pkl", "version", "byteorder"]
    names = [name for part in wanted for name in (constants if part == "*" else [f"archive/{part}"])]
    need(list(entries) == names, "forbidden-code")
    need(entries["archive/data.pkl"] == b"\x80\2c__torch__.policy\nPolicy\n)\x81}(ub.", "forbidden-code")
    check_tensors(entries)
    need(len(text) <= 128 * 1024 and re.fullmatch(r"[\n -~]*", text) and not set("#\\") & set(text), "forbidden-code")
    need(re.match(HEAD % input_count, text), "forbidden-code")
    try:
        forward: Any = ast.parse(text).body[0].body[2]  # type: ignore[attr-defined]
        need(depth_of(forward) < 100, "forbidden-code")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused("forbidden-code") from error
    need(ast.unparse(ast.parse(text)).count("\n    def ") == 1, "forbidden-code")
    for node in (node for statement in forward.body for node in ast.walk(statement)):
        need(isinstance(node, (*LISTED, ast.expr_context, ast.keyword, ast.USub, ast.Subscript)), "forbidden-code")
        if isinstance(node, ast.Call):
            need(ast.unparse(node.func) in operations, "forbidden-code")
            need({word.arg for word in node.keywords} <= KEYWORDS, "forbidden-code")
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            need(node.id not in {"self", "ops", "torch", "CONSTANTS"}, "forbidden-code")


def depth_of(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
    return depth


def check_tensors(entries: Files) -> None:
    found = list(TENSOR.finditer(entries["archive/constants.pkl"]))
    whole = b"\x80\x02(" + b"".join(tensor[0] for tensor in found) + b"t."
    need(whole == entries["archive/constants.pkl"], "forbidden-code")
    for tensor in found:
        count, offset = (int.from_bytes(tensor[name], "little") for name in ("count", "offset"))
        sizes, strides = ([at[0] for at in struct.iter_unpack("<xi", tensor[name])] for name in ("sizes", "strides"))
        need(min([0, *sizes, *strides]) == 0 and len(sizes) == len(strides), "forbidden-code")
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        width = WIDTHS.get(tensor["storage"].decode().removesuffix("Storage"), 0)
        stored = entries.get(f"archive/constants/{tensor['key'].decode()}", b"")
        need(width and count * width == len(stored) and (0 in sizes or last < count), "forbidden-code")


def array_of(npy: bytes) -> Any:
    form = rb"(?s)\x93NUMPY\x01\x00..\{'descr': '(<f4|<i8)', 'fortran_order': False, 'shape': \(([\d, ]+)\), \} *\n"
    head = need(re.match(form, npy), "golden-mismatch")
    need(head.end() == 10 + int.from_bytes(npy[8:10], "little"), "golden-mismatch")
    shape = [int(size) for size in head[2].split(b",") if size.strip()]
    need(math.prod(shape) * int(head[1][2:]) == len(npy) - head.end(), "golden-mismatch")
    return np.frombuffer(npy, head[1].decode(), offset=head.end()).reshape(shape)


def golden_of(archive: bytes, metadata: dict[str, Any]) -> list[Any]:
    entries = entries_of(archive, "golden-mismatch")
    need(list(entries) == ["observations.npy", "actions.npy", "outputs.npy"], "golden-mismatch")
    arrays = [array_of(content) for content in entries.values()]
    need([len(array) for array in arrays] == [len(arrays[0])] * 3, "golden-mismatch")
    need(256 <= len(arrays[0]) <= 65_536, "golden-mismatch")
    need(list(arrays[0].shape[1:]) == metadata["obs_shape"], "wrong-shape")
    need(all(np.isfinite(array).all() for array in arrays), "not-finite")
    space, near = metadata["action_space"], 0.0
    low, high = space.get("low"), space.get("high")
    if is_discrete := space["kind"] in {"discrete", "multi_discrete", "multi_binary"}:
        low, high = 0, 1 if space["kind"] == "multi_binary" else [n - 1 for n in space["n"]]
    else:
        near = metadata.get("output_tolerance", 1e-4)
    need((arrays[1].dtype.kind == "i") == is_discrete, "wrong-shape")
    need(list(arrays[1].shape[1:]) == space.get("shape", []), "wrong-shape")
    rows = arrays[1].reshape(len(arrays[1]), -1)  # below: a bound that is null is NaN, and nothing is beyond it
    is_beyond = (rows < np.array(low, float) - near) | (rows > np.array(high, float) + near)
    need(not is_beyond.any(), "wrong-shape")
    indices = rows[:, : len(space["n"])] if space["kind"] == "hybrid" else rows[:, :0]
    need((indices == np.floor(indices)).all(), "wrong-shape")
    return arrays


def by_rows(forward: Callable[..., Any], inputs: list[dict[str, Any]]) -> Callable[[Any], Any]:
    if len(inputs) == 1:
        return forward
    sizes = [math.prod(item["shape"]) for item in inputs]

    def on_rows(rows: Any) -> Any:
        parts = zip(rows.split(sizes, dim=1), inputs, strict=True)
        return forward(*[part.reshape(len(rows), *item["shape"]) for part, item in parts])

    return on_rows


def called(forward: Callable[[Any], Any], observations: Any) -> list[Any]:
    try:
        answers = list(forward(torch.from_numpy(observations.copy())))
    except (RuntimeError, TypeError) as error:
        raise Refused("load-failed") from error
    need(len(answers) == 2 and all(isinstance(answer, torch.Tensor) for answer in answers), "load-failed")
    return answers


def run_golden(forward: Callable[[Any], Any], golden: list[Any], tolerance: float) -> None:
    for rows in (slice(None), *(slice(row, row + 1) for row in range(32))):
        observations, actions, outputs = (array[rows] for array in golden)
        found = [answer.numpy() for answer in called(forward, observations)]
        kinds = [(each.shape, each.dtype) for each in (*found, actions, outputs)]
        need(kinds[:2] == kinds[2:], "wrong-shape")
        need(all(np.isfinite(answer).all() for answer in found), "not-finite")
        near = 0 if actions.dtype.kind == "i" else tolerance
        need((np.abs(found[0] - actions) <= near * (1 + np.abs(actions))).all(), "golden-mismatch")
        need(np.abs(found[1] - outputs).max() <= tolerance * (1 + np.abs(outputs).max()), "golden-mismatch")


def load(files: Files, trusted: dict[str, bytes], revoked: set[str], digest: str, operations: set[str]) -> Any:
    """Return the policy's `forward`. Raises Refused with a reason code."""
    need("metadata.json" in files, "missing-file")
    need(hashlib.sha256(files["metadata.json"]).hexdigest() == digest, "digest-mismatch")
    check_signature(files, trusted, revoked)
    metadata = parsed(files["metadata.json"], "bad-metadata")
    check_contents(files, metadata)
    check_code(entries_of(files["policy.pt"], "forbidden-code"), len(metadata["inputs"]), operations)
    golden = golden_of(files["golden.npz"], metadata)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            graph: Any = torch.jit.load(io.BytesIO(files["policy.pt"]))  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise Refused("load-failed") from error
        forward = by_rows(graph.forward, metadata["inputs"])
        run_golden(forward, golden, metadata.get("output_tolerance", 1e-4))
    return forward


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bundles.md").read_text()
CASTS = {"int", "float", "bool", "annotate", "ops.prim.NumToTensor"}


@pytest.fixture(scope="module")
def operations() -> set[str]:
    """The page's list."""
    listed = PAGE.split("### What a bundle may compute")[1].split("They mean")[0]
    return {f"torch.{name}" for name in re.findall(r"`(\w+)`", listed)} | CASTS


@pytest.fixture
def given(key: SigningKey, operations: set[str]) -> Callable[[Files], Any]:
    """Load as someone would who trusts the test's key."""
    raw = key.public.public_bytes_raw()

    def given(files: Files, digest: str | None = None) -> Any:
        named = digest or hashlib.sha256(files.get("metadata.json", b"")).hexdigest()
        return load(files, {hashlib.sha256(raw).hexdigest(): raw}, set(), named, operations)

    return given


def modules() -> dict[str, tuple[Any, dict[str, Any]]]:
    """One policy for each kind of action, with the facts of its bundle."""

    class Sized(torch.nn.Module):
        def __init__(self, *, is_hybrid: bool) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.is_hybrid, self.side, self.size = is_hybrid, torch.nn.Linear(OBS, 3), torch.nn.Linear(OBS, 1)

        def forward(self, obs: Any) -> Any:
            outputs, sizes = self.side(obs), torch.tanh(self.size(obs))
            if not self.is_hybrid:
                return sizes, outputs
            return torch.cat([outputs.argmax(dim=1, keepdim=True).to(torch.float32), sizes], dim=1), outputs

    space = Space(kind="hybrid", shape=(2,), n=(3,), low=(0.0, -0.5), high=(2.0, 0.5))
    fraction = ActionMapping(kind="continuous", max_position=2.0)
    chosen = ActionMapping(kind="hybrid", max_position=2.0, limit_offsets=(None, 0, 1))
    return {
        "levels": (tiny_module(), {}),
        "continuous": (Sized(is_hybrid=False), {"actions": fraction, "limits": {"max_position": 1.5}}),
        "hybrid": (Sized(is_hybrid=True), {"actions": chosen, "action_space": space}),
    }


@pytest.mark.parametrize("kind", ["levels", "continuous", "hybrid"])
def test_a_bundle_is_loaded_and_answers_as_in_tickpilot(
    kind: str, given: Callable[[Files], Any], tmp_path: Path, key: SigningKey, trust: TrustStore
) -> None:
    module, facts = modules()[kind]
    bundle = export_sample(tmp_path, key, module=module, **facts)
    forward, ours = given(read_files(str(bundle))), load_bundle(bundle, trust=trust).runtime
    observations = np.random.default_rng(5).standard_normal((64, OBS)).astype(np.float32)
    actions, outputs = forward(torch.from_numpy(observations.copy()))
    wanted_actions, wanted_outputs = ours.forward(observations)
    assert np.allclose(actions.numpy(), wanted_actions, rtol=0, atol=1e-6)
    assert np.allclose(outputs.numpy(), wanted_outputs, rtol=0, atol=1e-6)


def judged_by_the_page() -> list[Attack]:
    """Attacks on the bundle itself. Its reader's are: where files come from, what fits him, and a process to kill."""
    groups = {"missing", "swapped with another good bundle", "signature", "listed name", "graph", "module", "archive",
              "golden vectors", "weights", "answer"}  # fmt: skip
    ours = {"signature: by a revoked key", "signature: nobody is trusted"}
    found = [each for each in [*ATTACKS, *CODE_ATTACKS] if each.name.partition(":")[0] in groups]
    return [each for each in found if each.name not in ours and not each.endless]


@pytest.mark.parametrize("attack", judged_by_the_page(), ids=lambda attack: attack.name)
def test_it_refuses_what_tickpilot_refuses(
    attack: Attack, given: Callable[[Files], Any], files: Files, key: SigningKey, trust: TrustStore, tmp_path: Path
) -> None:
    other = sample_files(tmp_path, key, module=tiny_module(1), sequence=8)
    made = attack.make(Prey(files=files, other=other, key=key, trust=trust, room=tmp_path))
    assert isinstance(made, dict)
    with pytest.raises(Refused) as caught:
        given(made)
    assert str(caught.value) == attack.code
