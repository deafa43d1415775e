"""From a trained model to the files of a bundle, with the proof that they act alike."""

import hashlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

import msgspec
import numpy as np

from bundles.actions import ActionMapping
from bundles.archive import canonical
from bundles.errors import BundleRefused, ExportFailed, PolicyError
from bundles.export.additions import clamped, decided_or, hesitant, with_doubt
from bundles.export.formats import Agreement, further_files
from bundles.export.proof import (
    MIN_PROOF_OBSERVATIONS,
    Acts,
    Answers,
    Array,
    Proof,
    action_range,
    probe_observations,
    prove,
)
from bundles.features import FeatureSpec
from bundles.golden import encode_golden
from bundles.inputs import load_rows_runtime, parts_of, row_shape
from bundles.manifest import (
    GOLDEN_NAME,
    MANIFEST_NAME,
    POLICY_NAME,
    PROOF_NAME,
    SIGNATURE_NAME,
    BundleFile,
    Input,
    Manifest,
    Space,
    encode_manifest,
)
from bundles.runtimes.protocol import PolicyRuntime
from bundles.scan.torchscript import check_archive
from bundles.signing import SigningKey, sign


class BundleFacts(TypedDict):
    """What a bundle says of itself and the model can't know. `created`, `expires` in ns UTC.

    `key` None leaves it unsigned. `actions` None: they mean no position, and only `predict` serves the bundle.
    `min_confidence`: a discrete action whose probability (softmax of the outputs) is not so far above the next one's
    becomes the level after the last, null: keep the position. `observations` float32 [N, ...]: real ones, for the
    statistics, the proof and the golden vectors; made-up ones fill up. `formats`: further forms of the policy, out of
    onnx, pt2, int8 and fp16; `least_agreement`: the share of equal actions that int8 and fp16 need.
    """

    strategy: str
    instruments: tuple[str, ...]
    features: FeatureSpec | None
    actions: ActionMapping | None
    sequence: int
    created: int
    key: SigningKey | None
    run_name: str
    policy_id: NotRequired[str]
    expires: NotRequired[int | None]
    limits: NotRequired[Mapping[str, float]]
    training: NotRequired[Mapping[str, Any]]
    evaluation: NotRequired[Mapping[str, float]]
    observations: NotRequired[Array | None]
    proof_observations: NotRequired[int]
    min_confidence: NotRequired[float]
    formats: NotRequired[tuple[str, ...]]
    least_agreement: NotRequired[float]


def export_policy(model: Any, *, out_dir: str | Path, vec_normalize: Any = None, **facts: Unpack[BundleFacts]) -> Path:
    """Write a Stable-Baselines3 model (DQN, PPO, A2C, SAC, TD3) as a bundle and return its directory.

    The directory is `out_dir`/`run_name`, whole or not there. `vec_normalize`, the training VecNormalize, goes into the
    graph. The policy is compared with `model.predict(deterministic=True)` on at least 10,000 observations: discrete
    actions must all be equal, continuous ones to the bit one by one, and to 1e-6 of their range in batches. The same
    model, facts and `created` give the same bytes. Raises ExportFailed, and BundleRefused BAD_METADATA or WRONG_SHAPE
    for facts that contradict the model.
    """
    from bundles.export.stable_baselines import (
        compared_groups,
        greedy_module,
        inputs_of,
        predictions,
        scale_of,
        space_of,
    )

    inputs = inputs_of(model.observation_space)
    module, action_space = greedy_module(model, vec_normalize), space_of(model.action_space)
    predict = predictions(model, vec_normalize)
    if (threshold := facts.get("min_confidence")) is not None:
        module, action_space, facts = _hesitant(module, action_space, threshold, facts)
    eager = _eager(module, inputs)

    def answers(observations: Array) -> tuple[Array, Array]:
        actions, outputs = eager(observations)
        decided = predict(observations)
        return (decided if threshold is None else decided_or(action_space.n[0] - 1, decided, actions)), outputs

    return _export(
        module,
        answers=answers,
        exact=predict,
        groups=compared_groups(model) if threshold is None else (),
        inputs=inputs,
        spaces=(space_of(model.observation_space), action_space),
        names=(type(model).__name__.lower(), "stable-baselines3"),
        scale=scale_of(model, vec_normalize),
        out_dir=Path(out_dir),
        facts=facts,
    )


def export_module(
    module: Any,
    *,
    out_dir: str | Path,
    obs_shape: tuple[int, ...] | Mapping[str, tuple[int, ...]],
    algo: str = "module",
    action_space: Space | None = None,
    **facts: Unpack[BundleFacts],
) -> Path:
    """Write any torch module with forward(obs float32 [B, *obs_shape]) -> (action, outputs) as `export_policy` does.

    With shapes by name, forward takes an input for each, in their order, and `observations` in the facts are rows: the
    inputs, flat, one after the other.
    `action` is int64 [B], an index of `actions.levels`, int64 [B, 2], of `levels` and `limit_offsets`, float32 [B, 1],
    a fraction, float32 [B, 2], of `limit_offsets` and a fraction, or any other int64 or float32 [B, k]; `outputs`
    float32 [B, k]. `action_space` says more than the dtype: a `hybrid` has indices in its first columns and numbers in
    the others, and what has bounds is clamped to them in the graph. The module is traced: its forward must be one line
    of tensor maths, without branches on values. The proof compares the exported graph with the module itself. Raises
    ExportFailed, and BundleRefused for facts that contradict the module.
    """
    shapes = {"obs": obs_shape} if isinstance(obs_shape, tuple) else obs_shape
    inputs = tuple(Input(name=name, dtype="float32", shape=shape) for name, shape in shapes.items())
    if action_space is None:
        action_space = _action_space_of(module, inputs, facts["actions"])
    if action_space.low is not None and action_space.high is not None:
        module = clamped(module, action_space)
    if (threshold := facts.get("min_confidence")) is not None:
        module, action_space, facts = _hesitant(module, action_space, threshold, facts)
    eager = _eager(module, inputs)
    parts = {name: Space(kind="box", shape=shape) for name, shape in shapes.items()}
    return _export(
        module,
        answers=eager,
        exact=None,  # freezing folds layers of a module that is not known
        groups=(),
        inputs=inputs,
        spaces=(parts["obs"] if isinstance(obs_shape, tuple) else Space(kind="dict", spaces=parts), action_space),
        names=(algo, "torch"),
        scale=(0.0, 1.0),
        out_dir=Path(out_dir),
        facts=facts,
    )


def _action_space_of(module: Any, inputs: tuple[Input, ...], mapping: ActionMapping | None) -> Space:
    actions, _ = _eager(module, inputs)(np.zeros((2, *row_shape(inputs)), np.float32))
    shape = actions.shape[1:]
    is_index = actions.dtype.kind == "i"
    if mapping is not None and mapping.limit_offsets and shape == (mapping.size,):
        if is_index:
            return Space(kind="multi_discrete", shape=shape, dtype="int64", n=mapping.choices)
        last = float(len(mapping.limit_offsets) - 1)
        return Space(kind="hybrid", shape=shape, n=mapping.choices, low=(0.0, -1.0), high=(last, 1.0))
    if not is_index:
        return Space(kind="box", shape=shape)
    if mapping is None or actions.ndim != 1:
        raise ExportFailed("how many choices the discrete actions have is not known", "say so by action_space")
    return Space(kind="discrete", dtype="int64", n=(len(mapping.levels),))


def _hesitant(module: Any, action_space: Space, threshold: float, facts: BundleFacts) -> tuple[Any, Space, BundleFacts]:
    mapping = with_doubt(facts["actions"])
    choices = action_space.n[0]
    space = msgspec.structs.replace(action_space, n=(choices + 1,))
    return hesitant(module, choices, threshold), space, {**facts, "actions": mapping}


def _export(
    module: Any,
    *,
    answers: Answers,
    exact: Acts | None,
    groups: tuple[int, ...],
    inputs: tuple[Input, ...],
    spaces: tuple[Space, Space],
    names: tuple[str, str],
    scale: tuple[Any, Any],
    out_dir: Path,
    facts: BundleFacts,
) -> Path:
    obs_space, action_space = spaces
    policy = _trace(module, *[item.shape for item in inputs])
    observations = _observations(obs_space, scale, facts)
    proof, golden = _prove(_runtime(policy, inputs), answers, observations, action_space, facts, exact, groups)
    contents = {POLICY_NAME: policy, GOLDEN_NAME: golden}
    if "formats" in facts:
        if len(inputs) > 1:
            raise ExportFailed("further formats of a policy of several inputs can't be written", "leave `formats` out")
        further, agreements = _further(module, policy, obs_space, scale, facts)
        contents |= further
        proof = msgspec.structs.replace(proof, formats=agreements)
    manifest = Manifest(
        policy_id=facts.get("policy_id", facts["run_name"]),
        run_name=facts["run_name"],
        strategy=facts["strategy"],
        instruments=tuple(facts["instruments"]),
        sequence=facts["sequence"],
        created=facts["created"],
        expires=facts.get("expires"),
        algo=names[0],
        framework=names[1],
        export_method="torch.jit.trace+freeze",
        obs_shape=row_shape(inputs),
        obs_space=obs_space,
        inputs=inputs,
        action_space=action_space,
        features=None if facts["features"] is None else facts["features"].sealed,
        actions=facts["actions"],
        limits=dict(facts.get("limits", {})),
        statistics=_statistics(facts, proof),
        training={**facts.get("training", {}), "libraries": _libraries(names[1])},
        files={
            name: BundleFile(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
            for name, content in contents.items()
        },
    )
    manifest_bytes = encode_manifest(manifest)
    files = {**contents, MANIFEST_NAME: manifest_bytes, PROOF_NAME: msgspec.json.encode(proof, order="sorted") + b"\n"}
    if facts["key"] is not None:
        files[SIGNATURE_NAME] = sign(manifest_bytes, facts["key"])
    return _write(out_dir / facts["run_name"], files)


_TRACEABLE = "let forward be tensor maths alone, without branches on values"


def _trace(module: Any, *shapes: tuple[int, ...]) -> bytes:
    import torch
    from torch.jit._trace import TracerWarning

    examples = tuple(torch.zeros((3, *shape), dtype=torch.float32) for shape in shapes)
    saved = io.BytesIO()
    with warnings.catch_warnings(record=True) as told, torch.no_grad():
        # torch.jit is deprecated as a whole, and says so at each call.
        warnings.simplefilter("always")
        try:
            trace: Any = torch.jit.trace
            traced = torch.jit.freeze(trace(module.eval(), examples, check_trace=False))
        except RuntimeError as error:
            raise ExportFailed(f"the module can't be traced ({error})", _TRACEABLE) from error
        torch.jit.save(traced, saved)
    if wrong := [str(warning.message) for warning in told if issubclass(warning.category, TracerWarning)]:
        raise ExportFailed(f"the module can't be traced ({wrong[0]})", _TRACEABLE)
    policy = canonical(saved.getvalue())
    try:
        check_archive(policy, len(shapes))
    except BundleRefused as refusal:
        raise ExportFailed(refusal.detail, "use only operations that docs/bundles.md lists") from refusal
    return policy


def _runtime(policy: bytes, inputs: tuple[Input, ...]) -> PolicyRuntime:
    from bundles.runtimes.torchscript import TorchScriptRuntime

    return TorchScriptRuntime.load(policy, inputs[0].shape) if len(inputs) == 1 else load_rows_runtime(policy, inputs)


def _observations(obs_space: Space, scale: tuple[Any, Any], facts: BundleFacts) -> Array:
    count = max(facts.get("proof_observations", MIN_PROOF_OBSERVATIONS), MIN_PROOF_OBSERVATIONS)
    return probe_observations(facts.get("observations"), obs_space, count, scale)


def _prove(
    runtime: PolicyRuntime,
    answers: Answers,
    observations: Array,
    action_space: Space,
    facts: BundleFacts,
    exact: Acts | None,
    groups: tuple[int, ...],
) -> tuple[Proof, bytes]:
    try:
        proof, golden = prove(runtime, answers, observations, action_range(action_space), exact, groups)
    except PolicyError as error:
        raise ExportFailed(error.what, "look for NaN in the weights and the normaliser") from error
    evaluation = {name: float(value) for name, value in facts.get("evaluation", {}).items()}
    return msgspec.structs.replace(proof, evaluation=evaluation), encode_golden(golden)


def _further(
    module: Any, policy: bytes, space: Space, scale: tuple[Any, Any], facts: BundleFacts
) -> tuple[dict[str, bytes], dict[str, Agreement]]:
    from bundles.runtimes.torchscript import TorchScriptRuntime

    if not space.shape:
        raise ExportFailed("further forms are written of policies with one observation alone", "leave out `formats`")
    return further_files(
        facts["formats"],
        module,
        trace=_trace,
        wanted=TorchScriptRuntime.load(policy, space.shape).forward,
        # One row far out decides how a whole batch is quantised: the forms are compared on what they are for.
        observations=probe_observations(
            facts.get("observations"), space, MIN_PROOF_OBSERVATIONS, scale, is_extreme=False
        ),
        least_agreement=facts.get("least_agreement"),
    )


def _eager(module: Any, inputs: tuple[Input, ...]) -> Answers:
    import torch

    def answers(observations: Array) -> tuple[Array, Array]:
        rows = torch.from_numpy(np.array(observations, np.float32))
        with torch.no_grad():
            action, outputs = module(*[part for _, part in parts_of(rows, inputs)])
        return action.numpy(), outputs.numpy()

    return answers


def _statistics(facts: BundleFacts, proof: Proof) -> dict[str, Any]:
    observations = facts.get("observations")
    statistics: dict[str, Any] = {"action_shares": proof.action_shares}
    if observations is not None and len(observations):
        rows = np.asarray(observations, np.float64).reshape(len(observations), -1)
        figures = {"mean": rows.mean(axis=0), "std": rows.std(axis=0), "min": rows.min(axis=0), "max": rows.max(axis=0)}
        statistics["features"] = {name: values.tolist() for name, values in figures.items()}
    return statistics


def _libraries(framework: str) -> dict[str, str]:
    return {name: version(name) for name in sorted({"torch", "numpy", framework})}


def _write(target: Path, files: Mapping[str, bytes]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise ExportFailed(f"{target} is there already", "choose another run_name or remove it")
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        fresh.chmod(0o755)
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target
