"""Golden vectors: observations with the model's own answers, run before a policy may serve.

golden.npz holds `observations` float32 [N, ...], `actions` int64 [N, ...] or float32 [N, k], `outputs` float32
[N, k]; N >= 256. numpy.load reads it without pickle.
"""

import io
import math
import re
from typing import Any

import numpy as np
from msgspec import Struct

from bundles import archive
from bundles.errors import BundleRefused
from bundles.runtimes.protocol import PolicyRuntime
from messages.status import RejectCode

MIN_VECTORS = 256
MAX_VECTORS = 65_536
SINGLE_VECTORS = 32
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<dtype><[fi][48])', 'fortran_order': False, "
    rb"'shape': \((?P<shape>(\d{1,9},? ?){1,6})\), \} *\n",
    re.DOTALL,
)
_ARRAYS = {"observations": ("<f4",), "actions": ("<i8", "<f4"), "outputs": ("<f4",)}

Array = np.ndarray[Any, np.dtype[Any]]


class GoldenVectors(Struct, frozen=True, kw_only=True):
    """Row i of each belongs together."""

    observations: Array
    actions: Array
    outputs: Array


def encode_golden(vectors: GoldenVectors) -> bytes:
    """Return golden.npz's bytes; the same vectors give the same bytes."""
    return archive.pack({f"{name}.npy": _encode_array(getattr(vectors, name)) for name in _ARRAYS})


def decode_golden(golden: bytes, obs_shape: tuple[int, ...]) -> GoldenVectors:
    """Return the vectors. Raises BundleRefused: GOLDEN_MISMATCH when they can't be read, WRONG_SHAPE, NOT_FINITE."""
    try:
        entries = archive.unpack(golden)
        arrays = {name: _decode_array(entries.pop(f"{name}.npy"), dtypes) for name, dtypes in _ARRAYS.items()}
    except (BundleRefused, KeyError, ValueError) as error:
        raise BundleRefused(RejectCode.GOLDEN_MISMATCH, f"golden.npz is not readable ({error})") from error
    count = len(arrays["observations"])
    if entries or not MIN_VECTORS <= count <= MAX_VECTORS or any(len(array) != count for array in arrays.values()):
        raise BundleRefused(RejectCode.GOLDEN_MISMATCH, f"golden.npz has {count} vectors or other arrays than it may")
    if arrays["observations"].shape[1:] != obs_shape:
        raise BundleRefused(RejectCode.WRONG_SHAPE, f"golden observations have shape {arrays['observations'].shape}")
    if arrays["outputs"].ndim != 2 or arrays["actions"].ndim > 2:
        raise BundleRefused(
            RejectCode.WRONG_SHAPE,
            f"golden actions {arrays['actions'].shape}, outputs {arrays['outputs'].shape} must be [N(, k)], [N, k]",
        )
    if any(not np.isfinite(array).all() for array in arrays.values()):
        raise BundleRefused(RejectCode.NOT_FINITE, "golden.npz holds NaN or infinity")
    return GoldenVectors(**arrays)


def check_golden(runtime: PolicyRuntime, vectors: GoldenVectors, output_tolerance: float) -> float:
    """Run all vectors in one batch, the first 32 one by one; return the largest difference of an output.

    Discrete actions must be equal, outputs and continuous actions within `output_tolerance`.
    Raises BundleRefused GOLDEN_MISMATCH or WRONG_SHAPE, and what the runtime raises.
    """
    actions, outputs = runtime.forward(vectors.observations)
    difference = _check_same(actions, outputs, vectors, output_tolerance)
    for index in range(SINGLE_VECTORS):
        row = slice(index, index + 1)
        alone = GoldenVectors(
            observations=vectors.observations[row], actions=vectors.actions[row], outputs=vectors.outputs[row]
        )
        difference = max(difference, _check_same(*runtime.forward(alone.observations), alone, output_tolerance))
        answer = np.asarray(runtime.act(vectors.observations[index]))
        if not _is_close(answer, alone.actions.reshape(-1), 0 if alone.actions.dtype.kind == "i" else output_tolerance):
            raise BundleRefused(RejectCode.GOLDEN_MISMATCH, f"act answers {answer} to golden observation {index}")
    return difference


def _check_same(actions: Array, outputs: Array, vectors: GoldenVectors, output_tolerance: float) -> float:
    if actions.shape != vectors.actions.shape or outputs.shape != vectors.outputs.shape:
        raise BundleRefused(
            RejectCode.WRONG_SHAPE,
            f"the policy answers with shapes {actions.shape}, {outputs.shape}, "
            f"golden.npz holds {vectors.actions.shape}, {vectors.outputs.shape}",
        )
    if actions.dtype != vectors.actions.dtype:
        raise BundleRefused(RejectCode.WRONG_SHAPE, f"actions are {actions.dtype}, golden {vectors.actions.dtype}")
    difference = float(np.abs(outputs - vectors.outputs).max(initial=0.0))
    scale = 1.0 + float(np.abs(vectors.outputs).max(initial=0.0))
    tolerance = 0.0 if actions.dtype.kind == "i" else output_tolerance
    if difference > output_tolerance * scale or not _is_close(actions, vectors.actions, tolerance):
        wrong = int((actions != vectors.actions).reshape(len(actions), -1).any(axis=1).sum())
        raise BundleRefused(
            RejectCode.GOLDEN_MISMATCH,
            f"{wrong} of {len(actions)} golden actions differ, outputs by up to {difference:.3g}",
        )
    return difference


def _is_close(found: Array, expected: Array, tolerance: float) -> bool:
    return bool((np.abs(found - expected) <= tolerance * (1.0 + np.abs(expected))).all())


def _encode_array(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _decode_array(content: bytes, dtypes: tuple[str, ...]) -> Array:
    # numpy's own reader evaluates the header and allocates by it; only the one form that it writes is needed.
    header = _HEADER.match(content)
    if header is None or header.end() != 10 + int.from_bytes(content[8:10], "little"):
        raise ValueError("an array has no plain .npy 1.0 header")
    dtype = np.dtype(header["dtype"].decode())
    shape = tuple(int(size) for size in header["shape"].split(b",") if size.strip())
    rest = len(content) - header.end()
    if dtype.str not in dtypes or not shape or math.prod(shape) * dtype.itemsize != rest:
        raise ValueError(f"array {dtype.str} of shape {shape} is not what {rest} bytes should hold")
    return np.frombuffer(content, dtype, offset=header.end()).reshape(shape)
