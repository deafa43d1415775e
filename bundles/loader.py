"""The one road from bytes to a usable policy: the checks, in their order.

Files are read once; everything after judges and uses those same bytes.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from msgspec import Struct

from bundles.errors import BundleRefused, PolicyError
from bundles.golden import check_golden, decode_golden
from bundles.inputs import load_rows_runtime, numbers, rows_of
from bundles.manifest import (
    ALLOWED_FILES,
    GOLDEN_NAME,
    MANIFEST_NAME,
    POLICY_NAME,
    PROOF_NAME,
    SIGNATURE_NAME,
    Expectation,
    Manifest,
    Space,
    bundle_id,
    decode_manifest,
)
from bundles.registry import MAX_BUNDLE_BYTES, read_files
from bundles.runtimes.choice import DEFAULT_RUNTIME, RuntimeName, open_runtime
from bundles.runtimes.protocol import Actions, Floats, PolicyRuntime, warm
from bundles.scan.torchscript import check_archive
from bundles.signing import TrustStore, verify
from bundles.spaces import INDEX_KINDS, are_within, bounds_of
from bundles.verifier import Verifier
from messages.status import RejectCode

Files = Mapping[str, bytes]
NO_EXPECTATION = Expectation()
_UNLISTED = frozenset({MANIFEST_NAME, SIGNATURE_NAME, PROOF_NAME})
_FORGIVEN_UNSIGNED = frozenset({RejectCode.UNSIGNED, RejectCode.UNTRUSTED_KEY})


class LoadedBundle(Struct, frozen=True, kw_only=True):
    """A policy that passed every check and is warm. `digest` is the sha256 of metadata.json's bytes."""

    manifest: Manifest
    digest: str
    bundle_id: str
    runtime: PolicyRuntime
    files: Files


def verify_files(
    files: Files,
    trust: TrustStore | None,
    expected: Expectation = NO_EXPECTATION,
    *,
    sha256: str | None = None,
    allow_unsigned: bool = False,
) -> Manifest:
    """Return the manifest of files that are whole, signed and expected; nothing of the policy runs.

    In order: digest of metadata.json against `sha256` when given, signature, manifest, names, digests and sizes,
    expectation. Without `trust` nothing is trusted; `allow_unsigned` forgives a missing signature or an unknown
    signer, never a wrong signature. Raises BundleRefused.
    """
    manifest_bytes = files.get(MANIFEST_NAME)
    if manifest_bytes is None:
        raise BundleRefused(RejectCode.MISSING_FILE, f"there is no {MANIFEST_NAME}")
    if sha256 is not None and (found := hashlib.sha256(manifest_bytes).hexdigest()) != sha256:
        raise BundleRefused(RejectCode.DIGEST_MISMATCH, f"metadata.json has sha256 {found}, announced was {sha256}")
    try:
        verify(manifest_bytes, files.get(SIGNATURE_NAME), trust if trust is not None else TrustStore())
    except BundleRefused as refusal:
        if not (allow_unsigned and refusal.code in _FORGIVEN_UNSIGNED):
            raise
    manifest = decode_manifest(manifest_bytes)
    check_contents(files, manifest)
    manifest.check_expected(expected)
    return manifest


def check_contents(files: Files, manifest: Manifest) -> None:
    """Return when the files are exactly those that the manifest lists (a signature and a proof may be there too).

    Raises BundleRefused: BAD_NAME, UNLISTED_FILE, MISSING_FILE, DIGEST_MISMATCH.
    """
    for name in sorted(files):
        if name not in ALLOWED_FILES:
            raise BundleRefused(RejectCode.BAD_NAME, f"{name!r} is no file of a bundle")
        if name not in manifest.files and name not in _UNLISTED:
            raise BundleRefused(RejectCode.UNLISTED_FILE, f"metadata.json doesn't list {name}")
    for name, listed in manifest.files.items():
        if name not in files:
            raise BundleRefused(RejectCode.MISSING_FILE, f"{name} is listed but not there")
        found = hashlib.sha256(files[name]).hexdigest()
        if len(files[name]) != listed.size or found != listed.sha256:
            raise BundleRefused(
                RejectCode.DIGEST_MISMATCH, f"{name}: sha256 is {found}, metadata.json says {listed.sha256}", name=name
            )


def open_policy(files: Files, manifest: Manifest, runtime_name: RuntimeName = DEFAULT_RUNTIME) -> PolicyRuntime:
    """Scan, load, warm and run the golden vectors; return the runtime. Only for files that passed `check_contents`.

    Runs the policy's graph in this process: give it what the verifier process has passed, or what you trust.
    Raises BundleRefused.
    """
    check_archive(files[POLICY_NAME], len(manifest.inputs))
    vectors = decode_golden(files[GOLDEN_NAME], manifest.obs_shape)
    discrete = manifest.action_space.kind in INDEX_KINDS
    if discrete != (vectors.actions.dtype.kind == "i") or vectors.actions.shape[1:] != manifest.action_space.shape:
        raise BundleRefused(
            RejectCode.WRONG_SHAPE,
            f"golden actions are {vectors.actions.dtype} {vectors.actions.shape}, action space {manifest.action_space}",
        )
    _check_within(vectors.actions, manifest.action_space, manifest.output_tolerance)
    runtime = _open_runtime(files, manifest, runtime_name)
    try:
        check_golden(runtime, vectors, manifest.output_tolerance)
        warm(runtime)
    except PolicyError as error:
        raise BundleRefused(error.code, error.what) from error
    return runtime


def _open_runtime(files: Files, manifest: Manifest, runtime_name: RuntimeName) -> PolicyRuntime:
    if len(manifest.inputs) == 1:
        return open_runtime(runtime_name, files, manifest.obs_shape)
    if runtime_name != "torchscript":
        raise BundleRefused(
            RejectCode.LOAD_FAILED, f"the runtime {runtime_name} takes one input, the policy has {len(manifest.inputs)}"
        )
    return load_rows_runtime(files[POLICY_NAME], manifest.inputs)


def _check_within(actions: Actions, space: Space, tolerance: float) -> None:
    # What comes after the policy indexes and scales by the space: an action beyond it must not appear while it trades.
    if not are_within(actions, space, bounds_of(space), tolerance):
        raise BundleRefused(RejectCode.WRONG_SHAPE, f"golden actions reach beyond action space {space}")


def load_bundle(
    uri: str | Path,
    *,
    trust: TrustStore | str | Path | None = None,
    allow_unsigned: bool = False,
    expected: Expectation = NO_EXPECTATION,
    max_bytes: int = MAX_BUNDLE_BYTES,
    runtime: RuntimeName = DEFAULT_RUNTIME,
) -> LoadedBundle:
    """Return the bundle at `uri` (a directory or a store's address), checked, loaded and warm.

    `trust` is a store or a directory of .pub files. Runs in this process and thread, unbounded in time: agents use
    `stage`. Raises BundleRefused, KeyRefused for an unusable trust directory.
    """
    files = read_files(str(uri), max_bytes)
    store = TrustStore.read(trust) if isinstance(trust, str | Path) else trust
    manifest = verify_files(files, store, expected, allow_unsigned=allow_unsigned)
    return _loaded(files, manifest, runtime)


async def stage(
    uri: str,
    sha256: str,
    *,
    trust: TrustStore | None,
    verifier: Verifier,
    expected: Expectation = NO_EXPECTATION,
    allow_unsigned: bool = False,
    max_bytes: int = MAX_BUNDLE_BYTES,
    read_timeout_s: float = 30.0,
    verify_timeout_s: float = 20.0,
) -> LoadedBundle:
    """Return the bundle at `uri` with this digest of metadata.json, checked, loaded and warm, off the event loop.

    The verifier process runs the policy first; only then the same bytes are loaded here, by the same backend. Raises
    BundleRefused, with TIMED_OUT or UNREACHABLE when an outside took too long.
    """
    try:
        files = await asyncio.wait_for(asyncio.to_thread(read_files, uri, max_bytes), read_timeout_s)
    except TimeoutError as error:
        raise BundleRefused(RejectCode.UNREACHABLE, f"{uri} was not read within {read_timeout_s:g} s") from error
    manifest = await asyncio.to_thread(
        verify_files, files, trust, expected, sha256=sha256, allow_unsigned=allow_unsigned
    )
    await verifier.check(files, verify_timeout_s)
    try:
        return await asyncio.wait_for(asyncio.to_thread(_loaded, files, manifest, verifier.runtime), verify_timeout_s)
    except TimeoutError as error:
        raise BundleRefused(RejectCode.TIMED_OUT, f"loading took over {verify_timeout_s:g} s") from error


def _loaded(files: Files, manifest: Manifest, runtime: RuntimeName) -> LoadedBundle:
    return LoadedBundle(
        manifest=manifest,
        digest=hashlib.sha256(files[MANIFEST_NAME]).hexdigest(),
        bundle_id=bundle_id(manifest),
        runtime=open_policy(files, manifest, runtime),
        files=files,
    )


class TorchScriptPolicy:
    """A loaded bundle with the `predict` that Stable-Baselines3 users know."""

    def __init__(self, bundle: LoadedBundle) -> None:
        self.bundle = bundle
        self.holds = 0
        """How many answers were in doubt, and mean: keep the position."""
        self._bounds = bounds_of(bundle.manifest.action_space)

    @classmethod
    def load_bundle(
        cls, uri: str | Path, trust: TrustStore | str | Path | None = None, *, allow_unsigned: bool = False
    ) -> Self:
        """Load as `bundles.load_bundle` does; an unsigned bundle only with `allow_unsigned=True`."""
        return cls(load_bundle(uri, trust=trust, allow_unsigned=allow_unsigned))

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    def predict(self, observation: Any, *, deterministic: bool = True) -> tuple[Any, dict[str, Any]]:
        """Return (action, info) for one observation [*obs_shape], or (actions, info) for a batch [B, *obs_shape].

        Of several inputs, `observation` is a mapping from their names to arrays, each single or each a batch. A
        discrete action is an int, others are arrays [k]; `info` holds `outputs` (logits, Q-values or mean),
        `bundle_id`, and `is_hold`: the policy is in doubt, and keeps the position. Bundles are greedy: raises
        ValueError for `deterministic=False`. Raises PolicyError: WRONG_SHAPE for another shape or type, and for an
        action beyond the action space; NOT_FINITE for NaN and infinity in what comes or goes.
        """
        if not deterministic:
            raise ValueError("a bundle holds the greedy policy alone; call predict with deterministic=True")
        manifest = self.manifest
        rows, is_single = _rows(observation, manifest)
        actions, outputs = self.bundle.runtime.forward(rows)
        if not are_within(actions, manifest.action_space, self._bounds, manifest.output_tolerance):
            raise PolicyError(RejectCode.WRONG_SHAPE, f"the action is beyond action space {manifest.action_space}")
        is_hold = _is_hold(actions, manifest)
        self.holds += int(is_hold.sum())
        info = {
            "bundle_id": self.bundle.bundle_id,
            "outputs": outputs[0] if is_single else outputs,
            "is_hold": bool(is_hold[0]) if is_single else is_hold,
        }
        if not is_single:
            return actions, info
        return (int(actions[0]) if actions.ndim == 1 and actions.dtype.kind == "i" else actions[0]), info


def _rows(observation: Any, manifest: Manifest) -> tuple[Floats, bool]:
    if isinstance(observation, Mapping):
        return rows_of(observation, manifest.inputs)
    rows = numbers(observation)
    is_single = rows.shape == manifest.obs_shape
    return (rows[None] if is_single else rows), is_single


def _is_hold(actions: Actions, manifest: Manifest) -> Actions:
    mapping = manifest.actions
    if mapping is None or mapping.kind != "levels" or None not in mapping.levels:
        return np.zeros(len(actions), bool)
    levels = actions.reshape(len(actions), -1)[:, 0]  # the second index, if any, is a limit offset
    return np.isin(levels, [index for index, level in enumerate(mapping.levels) if level is None])
