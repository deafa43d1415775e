"""The proof that an exported policy acts like its model, over many observations."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct

from bundles.errors import ExportFailed
from bundles.formats import Agreement
from bundles.golden import MIN_VECTORS, GoldenVectors
from bundles.manifest import Space
from bundles.runtimes.protocol import PolicyRuntime

MIN_PROOF_OBSERVATIONS = 10_000
ACTION_TOLERANCE = 1e-6  # of the action's range
OUTPUT_TOLERANCE = 1e-4
_CHUNK = 256
_CLEAR_MARGIN = 1e-3

Array = np.ndarray[Any, np.dtype[Any]]
Acts = Callable[[Array], Array]
Answers = Callable[[Array], tuple[Array, Array]]


class Proof(Struct, frozen=True, kw_only=True):
    """proof.json: how many observations were compared, how many actions were the same, the largest differences.

    `equal_bits`: how many continuous actions were the same to the bit when asked one by one; null for discrete ones.
    `formats`: how the further forms of the policy agree with policy.pt.
    """

    observations: int
    equal_actions: int
    equal_bits: int | None = None
    max_action_difference: float
    max_output_difference: float
    action_shares: dict[str, float]
    evaluation: dict[str, float] = {}
    formats: dict[str, Agreement] = {}


def probe_observations(base: Array | None, space: Space, count: int, scale: tuple[Any, Any]) -> Array:
    """Return float32 [count, *shape]: the rows of `base`, then seeded ones near them, near `scale` and far out.

    `scale` is (mean, standard deviation) of observations, used where there is no `base`; bytes are any bytes.
    """
    random = np.random.default_rng(20_260_101)
    mean, deviation = scale
    shape = space.shape
    if space.dtype == "uint8":
        rows = np.empty((0, *shape), np.float32) if base is None else np.asarray(base, np.float32)[:count]
        return np.concatenate([rows, random.integers(0, 256, (count - len(rows), *shape)).astype(np.float32)])
    rows = np.empty((0, *shape), np.float32) if base is None else np.asarray(base, np.float32)[:count]
    if len(rows):
        mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64) + 1e-3
    spread = random.choice([0.1, 1.0, 3.0, 20.0], size=(count - len(rows),) + (1,) * len(shape), p=[0.2, 0.5, 0.2, 0.1])
    made = mean + deviation * spread * random.standard_normal((count - len(rows), *shape))
    return np.concatenate([rows, made.astype(np.float32)])


def action_range(space: Space) -> Array:
    """Return how wide each part of a continuous action is, [k]; 1 where it has no bounds."""
    unknown = (None,) * math.prod(space.shape)
    pairs = zip(space.low or unknown, space.high or unknown, strict=True)
    return np.array([1.0 if low is None or high is None else high - low for low, high in pairs])


def prove(
    runtime: PolicyRuntime, answers: Answers, observations: Array, ranges: Array, exact: Acts | None
) -> tuple[Proof, GoldenVectors]:
    """Compare the runtime with the model's own answers; return the figures and golden vectors out of them.

    `ranges` [k] are those of continuous actions; one by one they must be equal to the bit to those of `exact`. Raises
    ExportFailed when a discrete action differs, or a continuous one or an output beyond the tolerances.
    """
    pairs = [
        (answers(observations[start : start + _CHUNK]), runtime.forward(observations[start : start + _CHUNK]))
        for start in range(0, len(observations), _CHUNK)
    ]
    wanted_actions, wanted_outputs, actions, outputs = (
        np.concatenate([pair[side][part] for pair in pairs]) for side, part in ((0, 0), (0, 1), (1, 0), (1, 1))
    )
    if actions.shape != wanted_actions.shape or outputs.shape != wanted_outputs.shape:
        raise ExportFailed(
            f"the exported policy answers {actions.shape}, the model {wanted_actions.shape}",
            "make forward return action [B] or [B, k] and outputs [B, k]",
        )
    is_discrete = actions.dtype.kind == "i"
    tolerance = 0.0 if is_discrete else ACTION_TOLERANCE * ranges
    different = (np.abs(actions - wanted_actions).reshape(len(actions), -1) > tolerance).any(axis=1)
    output_difference = float(np.abs(outputs - wanted_outputs).max())
    if different.any() or output_difference > OUTPUT_TOLERANCE * (1.0 + float(np.abs(wanted_outputs).max())):
        raise ExportFailed(
            f"{int(different.sum())} of {len(actions)} actions differ from the model's, outputs by up to "
            f"{output_difference:.3g}",
            "the module's forward must be deterministic tensor maths; report it with the model's type",
        )
    equal_bits = None if is_discrete or exact is None else _equal_bits(runtime, exact, observations)
    if equal_bits is not None and equal_bits != len(observations):
        raise ExportFailed(
            f"asked one by one, {len(observations) - equal_bits} of {len(observations)} actions differ in some bits",
            "look for parts of the module that freezing folds together; report it with the model's type",
        )
    proof = Proof(
        observations=len(actions),
        equal_actions=int((~different).sum()),
        equal_bits=equal_bits,
        max_action_difference=float(np.abs(actions - wanted_actions).max()),
        max_output_difference=output_difference,
        action_shares=_shares(actions),
    )
    return proof, _golden(observations, wanted_actions.astype(actions.dtype), wanted_outputs.astype(np.float32))


def _golden(observations: Array, actions: Array, outputs: Array) -> GoldenVectors:
    # Another processor's last bit must not flip a golden action: prefer observations whose answer is clear.
    if actions.dtype.kind == "i" and outputs.ndim == 2 and outputs.shape[1] > 1:
        top = np.sort(outputs, axis=1)[:, -2:]
        is_clear = (top[:, 1] - top[:, 0]) > _CLEAR_MARGIN * (1.0 + np.abs(top[:, 1]))
    else:
        is_clear = np.ones(len(actions), dtype=bool)
    chosen = np.concatenate([np.flatnonzero(is_clear), np.flatnonzero(~is_clear)])[:MIN_VECTORS]
    return GoldenVectors(observations=observations[chosen], actions=actions[chosen], outputs=outputs[chosen])


def _equal_bits(runtime: PolicyRuntime, exact: Acts, observations: Array) -> int:
    rows = (observations[index : index + 1] for index in range(len(observations)))
    return sum(exact(row).astype(np.float32).tobytes() == runtime.forward(row)[0].tobytes() for row in rows)


def _shares(actions: Array) -> dict[str, float]:
    if actions.dtype.kind != "i":
        return {}
    values, counts = np.unique(actions.reshape(len(actions), -1), axis=0, return_counts=True)
    names = [",".join(map(str, row)) for row in values.tolist()]
    return {name: float(count) / len(actions) for name, count in zip(names, counts, strict=True)}
