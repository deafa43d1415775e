"""metadata.json: what a bundle is, its exact bytes, and whether it fits where it shall trade."""

import hashlib
import json
import math
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from bundles.actions import ActionError, ActionMapping
from bundles.errors import BundleRefused
from bundles.features import FeatureSpec, FeaturesRefused, check_spec
from messages.fields import Digest, Name, Nanoseconds, Sequence
from messages.status import RejectCode

FORMAT_VERSION = 1
MANIFEST_NAME = "metadata.json"
SIGNATURE_NAME = "metadata.json.sig"
POLICY_NAME = "policy.pt"
GOLDEN_NAME = "golden.npz"
PROOF_NAME = "proof.json"
ONNX_NAME = "policy.onnx"
INT8_NAME = "policy.int8.onnx"
FP16_NAME = "policy.fp16.pt"
PT2_NAME = "policy.pt2"
REQUIRED_FILES = frozenset({POLICY_NAME, GOLDEN_NAME})
LISTED_FILES = REQUIRED_FILES | {ONNX_NAME, INT8_NAME, FP16_NAME, PT2_NAME}
ALLOWED_FILES = LISTED_FILES | {MANIFEST_NAME, SIGNATURE_NAME, PROOF_NAME}
MAX_MANIFEST_BYTES = 2**20
MAX_INPUTS = 16

Dimension = Annotated[int, Meta(ge=1, le=2**20)]
Shape = Annotated[tuple[Dimension, ...], Meta(max_length=4)]


class Space(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A gymnasium space, or `hybrid`: float32 numbers, the first of them indices with `n` choices each.

    `n`: choices of each discrete action; `low`, `high`: flat bounds of a box or hybrid, null: none. `spaces`: the parts
    of a dict of observations.
    """

    kind: Literal["box", "discrete", "multi_discrete", "multi_binary", "hybrid", "dict"]
    shape: Annotated[tuple[Dimension, ...], Meta(max_length=4)] = ()
    dtype: str = "float32"
    n: tuple[Dimension, ...] = ()
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None
    spaces: dict[str, "Space"] = {}


class Input(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input of the graph; the batch dimension is left out of `shape`."""

    name: str
    dtype: str
    shape: Shape


class BundleFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the bundle: sha256 of its bytes and their number."""

    sha256: Digest
    size: Annotated[int, Meta(ge=0, le=2**40)]


class Expectation(Struct, frozen=True, kw_only=True):
    """What a reader demands of a bundle; what is None is not judged.

    `instruments` must all be among the bundle's. `now_ns` (judges `expires`) and `min_sequence` are for whoever
    accepts a BundleReady, never for one who obeys `control`: a rollback must work.
    """

    strategy: str | None = None
    instruments: tuple[str, ...] = ()
    obs_shape: tuple[int, ...] | None = None
    now_ns: int | None = None
    min_sequence: int | None = None


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """metadata.json. `created`, `expires` in ns UTC; shapes without the batch dimension.

    With several `inputs` an observation is one row: the inputs, flat, one after the other, and `obs_shape` is its size.
    `features` None: observations come as they are, from the topic `market`. `actions` None: the actions mean no
    position, and Execution does not serve the bundle. `limits` tighten the gate while this bundle trades.
    `output_tolerance`: how far outputs and continuous actions may be from the golden ones; discrete actions must be
    equal.
    """

    policy_id: Name
    run_name: Name
    strategy: Name
    instruments: Annotated[tuple[Name, ...], Meta(min_length=1)]
    version: Annotated[int, Meta(ge=FORMAT_VERSION, le=FORMAT_VERSION)] = FORMAT_VERSION
    sequence: Sequence
    created: Nanoseconds
    expires: Nanoseconds | None = None
    algo: Name
    framework: Name
    export_method: Name
    obs_shape: Annotated[Shape, Meta(min_length=1)]
    obs_space: Space
    inputs: Annotated[tuple[Input, ...], Meta(min_length=1, max_length=MAX_INPUTS)]
    action_space: Space
    features: FeatureSpec | None = None
    actions: ActionMapping | None = None
    limits: dict[str, float] = {}
    statistics: dict[str, Any] = {}
    training: dict[str, Any] = {}
    output_tolerance: Annotated[float, Meta(gt=0, le=1e-2)] = 1e-4
    files: dict[str, BundleFile]

    def check_compatible(
        self,
        strategy: str | None = None,
        instruments: tuple[str, ...] = (),
        obs_shape: tuple[int, ...] | None = None,
    ) -> None:
        """Raise BundleRefused when the bundle is for another strategy, other instruments or other observations."""
        if strategy is not None and strategy != self.strategy:
            raise BundleRefused(
                RejectCode.WRONG_STRATEGY, f"the bundle is for strategy {self.strategy!r}, asked for {strategy!r}"
            )
        if missing := sorted(set(instruments) - set(self.instruments)):
            raise BundleRefused(
                RejectCode.WRONG_INSTRUMENTS,
                f"the bundle is for {', '.join(self.instruments)}, not for {', '.join(missing)}",
            )
        if obs_shape is not None and obs_shape != self.obs_shape:
            raise BundleRefused(
                RejectCode.WRONG_SHAPE, f"the bundle takes observations of shape {self.obs_shape}, not {obs_shape}"
            )

    def check_expected(self, expected: Expectation) -> None:
        """Raise BundleRefused when the bundle is not what the reader demands."""
        self.check_compatible(expected.strategy, expected.instruments, expected.obs_shape)
        if expected.now_ns is not None and self.expires is not None and expected.now_ns >= self.expires:
            raise BundleRefused(RejectCode.EXPIRED, f"it expired at {self.expires} ns, now is {expected.now_ns} ns")
        if expected.min_sequence is not None and self.sequence < expected.min_sequence:
            raise BundleRefused(
                RejectCode.OLD_SEQUENCE, f"its sequence is {self.sequence}, at least {expected.min_sequence} is needed"
            )


def encode_manifest(manifest: Manifest) -> bytes:
    """Return metadata.json's bytes: sorted keys, the same for the same content.

    Raises BundleRefused BAD_METADATA for content that `decode_manifest` would refuse.
    """
    content = msgspec.json.encode(_finite(msgspec.to_builtins(manifest), "metadata"), order="sorted")
    manifest_bytes = msgspec.json.format(content, indent=1) + b"\n"
    decode_manifest(manifest_bytes)
    return manifest_bytes


def decode_manifest(manifest_bytes: bytes) -> Manifest:
    """Return what metadata.json holds.

    Raises BundleRefused: BAD_METADATA for anything that is not exactly a manifest (duplicate and unknown keys
    included), UNKNOWN_FEATURES, WRONG_SHAPE when its parts contradict each other, MISSING_FILE and BAD_NAME for files.
    """
    if len(manifest_bytes) > MAX_MANIFEST_BYTES:
        raise BundleRefused(RejectCode.TOO_LARGE, f"metadata.json has {len(manifest_bytes)} bytes")
    try:
        json.loads(manifest_bytes, object_pairs_hook=_unique, parse_constant=_no_constant)
        manifest = msgspec.json.decode(manifest_bytes, type=Manifest)
        _finite(msgspec.to_builtins(manifest), "metadata")
    except (ValueError, RecursionError) as error:
        raise BundleRefused(RejectCode.BAD_METADATA, f"metadata.json: {error}") from error
    _check_consistent(manifest)
    return manifest


def bundle_id(manifest: Manifest) -> str:
    """Return the digest (32 hex digits) of what the policy does: graph, features, actions, limits and strategy.

    Times, signatures and training facts don't count: the same policy exported twice has one id.
    """
    content = {
        "graph": manifest.files[POLICY_NAME].sha256,
        "features": manifest.features.digest if manifest.features is not None else None,
        "actions": msgspec.to_builtins(manifest.actions),
        "limits": manifest.limits,
        "strategy": manifest.strategy,
    }
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:32]


def _check_consistent(manifest: Manifest) -> None:
    if missing := sorted(REQUIRED_FILES - set(manifest.files)):
        raise BundleRefused(RejectCode.MISSING_FILE, f"metadata.json doesn't list {', '.join(missing)}")
    if odd := sorted(set(manifest.files) - LISTED_FILES):
        raise BundleRefused(RejectCode.BAD_NAME, f"metadata.json lists {', '.join(map(repr, odd))}")
    if math.prod(manifest.obs_shape) > 2**22:
        raise BundleRefused(RejectCode.WRONG_SHAPE, f"observations of shape {manifest.obs_shape} are too large")
    _check_inputs(manifest.inputs, manifest.obs_shape)
    if manifest.features is not None:
        _check_features(manifest.features, manifest.obs_shape)
    _check_actions(manifest)


def _check_inputs(inputs: tuple[Input, ...], obs_shape: tuple[int, ...]) -> None:
    if any(item.dtype != "float32" for item in inputs) or len({item.name for item in inputs}) != len(inputs):
        raise BundleRefused(RejectCode.WRONG_SHAPE, "inputs must be float32 and have names of their own")
    flat = (sum(math.prod(item.shape) for item in inputs),)
    if obs_shape != (inputs[0].shape if len(inputs) == 1 else flat):
        shapes = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise BundleRefused(RejectCode.WRONG_SHAPE, f"inputs {shapes} are no observation of shape {obs_shape}")


def _check_actions(manifest: Manifest) -> None:
    mapping, space = manifest.actions, manifest.action_space
    if mapping is None:
        return
    try:
        mapping.check_consistent()
    except ActionError as error:
        raise BundleRefused(RejectCode.WRONG_SHAPE, str(error)) from error
    if _shapes(mapping).get(space.kind) != space.shape or space.n != mapping.choices:
        raise BundleRefused(
            RejectCode.WRONG_SHAPE,
            f"{mapping.kind} with {len(mapping.levels)} levels and {len(mapping.limit_offsets)} limit offsets can't be "
            f"chosen in the action space {space}",
        )


def _shapes(mapping: ActionMapping) -> dict[str, tuple[int, ...]]:
    """Return the kinds of action space that a mapping can be chosen in, with their shapes."""
    if mapping.kind == "levels":
        return {"discrete": (), "multi_discrete": (1,)} if mapping.size == 1 else {"multi_discrete": (mapping.size,)}
    return {"hybrid" if mapping.kind == "hybrid" else "box": (mapping.size,)}


def _check_features(features: FeatureSpec, obs_shape: tuple[int, ...]) -> None:
    try:
        check_spec(features)
    except FeaturesRefused as error:
        raise BundleRefused(RejectCode.UNKNOWN_FEATURES, str(error)) from error
    if obs_shape != (features.size,):
        raise BundleRefused(RejectCode.WRONG_SHAPE, f"{features.size} features for observations of shape {obs_shape}")
    if features.hash is None:
        raise BundleRefused(RejectCode.UNKNOWN_FEATURES, f"the features have no `hash`; here it is {features.digest}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError(f"a key is there twice among {', '.join(sorted(name for name, _ in pairs))[:200]}")
    return content


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(content: Any, where: str) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        raise BundleRefused(RejectCode.BAD_METADATA, f"{where} is {content}")
    if isinstance(content, dict):
        for name, value in content.items():
            _finite(value, f"{where}.{name}")
    elif isinstance(content, list | tuple):
        for value in content:
            _finite(value, where)
    return content
