"""The proof that an exported policy acts like its model, over many observations."""

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct

from bundles.errors import ExportFailed
from bundles.golden import MIN_VECTORS, GoldenVectors
from bundles.runtimes.protocol import PolicyRuntime

MIN_PROOF_OBSERVATIONS = 10_000
ACTION_TOLERANCE = 1e-5
OUTPUT_TOLERANCE = 1e-4
_CHUNK = 256
_CLEAR_MARGIN = 1e-3

Array = np.ndarray[Any, np.dtype[Any]]
Answers = Callable[[Array], tuple[Array, Array]]


class Proof(Struct, frozen=True, kw_only=True):
    """proof.json: how many observations were compared, how many actions were the same, the largest differences."""

    observations: int
    equal_actions: int
    max_action_difference: float
    max_output_difference: float
    action_shares: dict[str, float]
    evaluation: dict[str, float] = {}


def probe_observations(base: Array | None, shape: tuple[int, ...], count: int, scale: tuple[Any, Any]) -> Array:
    """Return float32 [count, *shape]: the rows of `base`, then seeded ones near them, near `scale` and far out.

    `scale` is (mean, standard deviation) of observations, used where there is no `base`.
    """
    random = np.random.default_rng(20_260_101)
    mean, deviation = scale
    rows = np.empty((0, *shape), np.float32) if base is None else np.asarray(base, np.float32)[:count]
    if len(rows):
        mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64) + 1e-3
    spread = random.choice([0.1, 1.0, 3.0, 20.0], size=(count - len(rows),) + (1,) * len(shape), p=[0.2, 0.5, 0.2, 0.1])
    made = mean + deviation * spread * random.standard_normal((count - len(rows), *shape))
    return np.concatenate([rows, made.astype(np.float32)])


def prove(runtime: PolicyRuntime, answers: Answers, observations: Array) -> tuple[Proof, GoldenVectors]:
    """Compare the runtime with the model's own answers; return the figures and golden vectors out of them.

    Raises ExportFailed when a discrete action differs, or a continuous one or an output beyond the tolerances.
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
    different = (np.abs(actions - wanted_actions).reshape(len(actions), -1) > _tolerance(actions)).any(axis=1)
    output_difference = float(np.abs(outputs - wanted_outputs).max())
    if different.any() or output_difference > OUTPUT_TOLERANCE * (1.0 + float(np.abs(wanted_outputs).max())):
        raise ExportFailed(
            f"{int(different.sum())} of {len(actions)} actions differ from the model's, outputs by up to "
            f"{output_difference:.3g}",
            "the module's forward must be deterministic tensor maths; report it with the model's type",
        )
    proof = Proof(
        observations=len(actions),
        equal_actions=int((~different).sum()),
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


def _tolerance(actions: Array) -> float:
    return 0.0 if actions.dtype.kind == "i" else ACTION_TOLERANCE


def _shares(actions: Array) -> dict[str, float]:
    if actions.dtype.kind != "i":
        return {}
    values, counts = np.unique(actions, return_counts=True)
    return {str(value): float(count) / len(actions) for value, count in zip(values, counts, strict=True)}
