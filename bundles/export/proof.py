"""The proof that an exported policy acts like its model, over many observations."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from bundles.errors import ExportFailed
from bundles.export.formats import Agreement
from bundles.golden import MIN_VECTORS, GoldenVectors
from bundles.manifest import Space
from bundles.runtimes.protocol import PolicyRuntime

MIN_PROOF_OBSERVATIONS = 10_000
ACTION_TOLERANCE = 1e-6  # of the action's range
OUTPUT_TOLERANCE = 1e-4
_CHUNK = 256
_SEED = 20_260_101
_SPREADS, _SHARES = (0.1, 1.0, 3.0, 20.0), (0.2, 0.5, 0.2, 0.1)  # in standard deviations
_EXTREMES = (1.0, 1.0, 1e3)
_CLIPS, _NUDGES = (-10.0, -5.0, 5.0, 10.0), (-1e-7, 0.0, 1e-7)  # where observations are clipped, and beside
_CLEAR_MARGIN = 1e-3

Array = np.ndarray[Any, np.dtype[Any]]
Acts = Callable[[Array], Array]
Answers = Callable[[Array], tuple[Array, Array]]


class Proof(Struct, frozen=True, kw_only=True):
    """proof.json: how many observations were compared, how many actions were the same, the largest differences.

    `tied_actions`: how many discrete actions differ where the model itself finds both equally likely: it compares
    rounded probabilities, the graph what they come from. `equal_bits`: how many continuous actions were the same to the
    bit when asked one by one; null for discrete ones. `formats`: how the further forms of the policy agree with
    policy.pt.
    """

    observations: int
    equal_actions: int
    tied_actions: int = 0
    equal_bits: int | None = None
    max_action_difference: float
    max_output_difference: float
    action_shares: dict[str, float]
    evaluation: dict[str, float] = {}
    formats: dict[str, Agreement] = {}


def probe_observations(
    base: Array | None, space: Space, count: int, scale: tuple[Any, Any], *, is_extreme: bool = True
) -> Array:
    """Return float32 [count, *shape]: rows of `base`, then seeded ones near them, and if `is_extreme` at the edges too.

    `base` fills three quarters at most, evenly taken. `scale` is (mean, standard deviation) of observations, used where
    there is no `base`. The edges are the bounds of the space, where VecNormalize clips, and far out. Of a dict,
    observations are rows: its parts, flat, one after the other; bytes are any bytes.
    """
    known = None if base is None else np.asarray(base, np.float32)
    if known is not None and len(known) > count * 3 // 4:
        known = known[np.linspace(0, len(known) - 1, count * 3 // 4).astype(int)]
    if space.kind != "dict":
        return _probes(known, space, count, scale, np.random.default_rng(_SEED), is_extreme)
    columns, start = [], 0
    mean, deviation = scale
    for index, part in enumerate(space.spaces.values()):
        end = start + math.prod(part.shape)
        flat = msgspec.structs.replace(part, shape=(end - start,))
        own = (mean[start:end], deviation[start:end]) if np.ndim(mean) else scale
        rows = None if known is None else known[:, start:end]
        columns.append(_probes(rows, flat, count, own, np.random.default_rng(_SEED + index), is_extreme))
        start = end
    return np.concatenate(columns, axis=1)


def _probes(
    known: Array | None,
    space: Space,
    count: int,
    scale: tuple[Any, Any],
    random: np.random.Generator,
    is_extreme: bool,
) -> Array:
    shape = space.shape
    rows = np.empty((0, *shape), np.float32) if known is None else known
    missing = (count - len(rows), *shape)
    if space.dtype == "uint8":
        made = random.integers(0, 256, missing).astype(np.float32)
        made[-2], made[-1] = 0.0, 255.0
        return np.concatenate([rows, made])
    mean, deviation = scale
    if len(rows):
        mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64) + 1e-3
    spread = random.choice(_SPREADS, size=missing[:1] + (1,) * len(shape), p=_SHARES)
    made = mean + deviation * spread * random.standard_normal(missing)
    if is_extreme:
        edges = len(made) // 10
        made[-edges:] = _at_edges(made[-edges:], space, (mean, deviation), random)
    return np.concatenate([rows, made.astype(np.float32)])


def _at_edges(rows: Array, space: Space, scale: tuple[Any, Any], random: np.random.Generator) -> Array:
    mean, deviation = scale
    rows = rows * random.choice(_EXTREMES, size=rows.shape[:1] + (1,) * len(space.shape))
    clipped = mean + deviation * random.choice(_CLIPS, size=rows.shape) * (1 + random.choice(_NUDGES, size=rows.shape))
    rows = np.where(random.random(rows.shape) < 0.5, clipped, rows)
    none = (None,) * math.prod(space.shape)
    for bounds in (space.low or none, space.high or none):
        ends = np.array([np.nan if end is None else end for end in bounds]).reshape(space.shape)
        rows = np.where((random.random(rows.shape) < 0.2) & ~np.isnan(ends), ends, rows)
    return rows


def action_range(space: Space) -> Array:
    """Return how wide each part of a continuous action is, [k]; NaN where it has no bounds."""
    unknown = (None,) * math.prod(space.shape)
    pairs = zip(space.low or unknown, space.high or unknown, strict=True)
    return np.array([np.nan if low is None or high is None else high - low for low, high in pairs])


def prove(
    runtime: PolicyRuntime,
    answers: Answers,
    observations: Array,
    ranges: Array,
    exact: Acts | None,
    groups: tuple[int, ...] = (),
) -> tuple[Proof, GoldenVectors]:
    """Compare the runtime with the model's own answers; return the figures and golden vectors out of them.

    `ranges` [k] are those of continuous actions, NaN: the largest that there are; one by one they must be equal to the
    bit to those of `exact`. `groups`: how many outputs each discrete action is the likeliest of, where the model
    compares probabilities. Raises ExportFailed when a discrete action differs, or a continuous one or an output beyond
    the tolerances.
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
    tolerance = 0.0 if is_discrete else ACTION_TOLERANCE * _filled(ranges, wanted_actions)
    different = (np.abs(actions - wanted_actions).reshape(len(actions), -1) > tolerance).any(axis=1)
    is_tied = _are_tied(wanted_outputs, wanted_actions, actions, groups) & different
    different &= ~is_tied
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
        equal_actions=int((~different & ~is_tied).sum()),
        tied_actions=int(is_tied.sum()),
        equal_bits=equal_bits,
        max_action_difference=float(np.abs(actions - wanted_actions).max()),
        max_output_difference=output_difference,
        action_shares=_shares(actions),
    )
    golden_actions = actions if is_discrete else wanted_actions.astype(actions.dtype)
    return proof, _golden(observations, golden_actions, wanted_outputs.astype(np.float32))


def _are_tied(outputs: Array, first: Array, second: Array, groups: tuple[int, ...]) -> Array:
    """Return for which rows both actions have the same probability to the bit, as torch's Categorical computes it."""
    if not groups:
        return np.zeros(len(outputs), dtype=bool)
    import torch

    is_tied, start = np.ones(len(outputs), dtype=bool), 0
    firsts, seconds = (actions.reshape(len(outputs), -1) for actions in (first, second))
    for index, size in enumerate(groups):
        logits = torch.from_numpy(outputs[:, start : start + size])
        shares = torch.softmax(logits - logits.logsumexp(dim=-1, keepdim=True), dim=-1).numpy()
        pair = [np.take_along_axis(shares, actions[:, index : index + 1], axis=1) for actions in (firsts, seconds)]
        is_tied &= (pair[0] == pair[1])[:, 0]
        start += size
    return is_tied


def _filled(ranges: Array, actions: Array) -> Array:
    largest = np.maximum(1.0, np.abs(actions).max(axis=0)).reshape(-1)
    return np.where(np.isnan(ranges), largest, ranges)


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
