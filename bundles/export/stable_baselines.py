"""From a Stable-Baselines3 model to the plain module that acts as its `predict(deterministic=True)` does.

Purpose-written: SB3's policy objects carry distributions and numpy calls that a trace would freeze wrongly.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from bundles.errors import ExportFailed
from bundles.inputs import parts_of
from bundles.manifest import Input, Space

Reference = Callable[[Any], Any]


def greedy_module(model: Any, vec_normalize: Any = None) -> Any:
    """Return a torch module: forward(obs float32 [B, ...]) -> (action, outputs), the normaliser inside in float64.

    `model`: DQN, PPO, A2C, SAC or TD3 with a Box of observations, images included, or a Dict of them, and any action
    space that the algorithm has. Of a Dict, forward takes an argument for each part, in its order. The module holds
    copies of the weights. Raises ExportFailed for what can't be exported.
    """
    _check_spaces(model, vec_normalize)
    algorithm = type(model).__name__
    if algorithm == "DQN":
        q_net = model.policy.q_net
        return _compose(model, vec_normalize, [q_net.features_extractor, q_net.q_net], "argmax")
    if algorithm in {"PPO", "A2C"}:
        policy = model.policy
        head = _HEADS.get(type(model.action_space).__name__, "squash" if policy.squash_output else "clip")
        parts = [policy.pi_features_extractor, policy.mlp_extractor.policy_net, policy.action_net]
        return _compose(model, vec_normalize, parts, head)
    if algorithm == "SAC":
        actor = model.policy.actor
        return _compose(model, vec_normalize, [actor.features_extractor, actor.latent_pi, actor.mu], "squash")
    if algorithm == "TD3":
        actor = model.policy.actor
        return _compose(model, vec_normalize, [actor.features_extractor, actor.mu], "unscale")
    raise ExportFailed(f"{algorithm} models can't be exported", "use DQN, PPO, A2C, SAC or TD3, or export_module")


def predictions(model: Any, vec_normalize: Any = None) -> Reference:
    """Return a function from observations [B, ...] to what the trained model itself answers, deterministically.

    Of a Dict, observations are rows: its parts, flat, one after the other.
    """
    inputs = inputs_of(model.observation_space)
    is_named = _is_dict(model.observation_space)

    def predict(observations: Any) -> Any:
        seen = dict(parts_of(observations, inputs)) if is_named else observations
        actions, _ = model.predict(
            seen if vec_normalize is None else vec_normalize.normalize_obs(seen), deterministic=True
        )
        return actions

    return predict


def compared_groups(model: Any) -> tuple[int, ...]:
    """Return how many outputs each action is the likeliest of, where the model compares probabilities; else nothing."""
    space = model.action_space
    if type(model).__name__ not in {"PPO", "A2C"}:
        return ()
    if type(space).__name__ == "Discrete":
        return (int(space.n),)
    return tuple(space.nvec.tolist()) if type(space).__name__ == "MultiDiscrete" else ()


def space_of(space: Any) -> Space:
    """Return the manifest's form of a gymnasium space. Raises ExportFailed for those that have none."""
    kind = type(space).__name__
    starts_at_0 = not np.any(getattr(space, "start", 0))
    if kind == "Discrete" and starts_at_0:
        return Space(kind="discrete", dtype="int64", n=(int(space.n),))
    if kind == "MultiDiscrete" and starts_at_0 and space.nvec.ndim == 1:
        return Space(kind="multi_discrete", shape=space.nvec.shape, dtype="int64", n=tuple(space.nvec.tolist()))
    if kind == "MultiBinary" and isinstance(space.n, int):
        return Space(kind="multi_binary", shape=(space.n,), dtype="int64")
    if kind == "Dict":
        return Space(kind="dict", spaces={name: space_of(part) for name, part in space.spaces.items()})
    if kind == "Box":
        low, high = (_bounds(bounds) for bounds in (space.low, space.high))
        return Space(kind="box", shape=tuple(space.shape), dtype=str(space.dtype), low=low, high=high)
    raise ExportFailed(
        f"a space {space} can't be exported", "use Box, Discrete, MultiDiscrete (a row, from 0) or MultiBinary (a row)"
    )


def inputs_of(space: Any) -> tuple[Input, ...]:
    """Return the inputs of a graph with these observations. Raises ExportFailed for other than Boxes of numbers."""
    parts = space.spaces if _is_dict(space) else {"obs": space}
    if odd := [part for part in parts.values() if type(part).__name__ != "Box"]:
        raise ExportFailed(f"observations of {odd[0]} can't be exported", "use a Box, or a Dict of Boxes")
    return tuple(Input(name=name, dtype="float32", shape=tuple(part.shape)) for name, part in parts.items())


def scale_of(model: Any, vec_normalize: Any) -> tuple[Any, Any]:
    """Return (mean, standard deviation) of observations as the normaliser has seen them; (0, 1) where it has not."""
    if vec_normalize is None or not vec_normalize.norm_obs:
        return 0.0, 1.0
    if not _is_dict(model.observation_space):
        return vec_normalize.obs_rms.mean, np.sqrt(vec_normalize.obs_rms.var)
    scales = []
    for item in inputs_of(model.observation_space):
        statistics = vec_normalize.obs_rms.get(item.name)
        means, variances = (0.0, 1.0) if statistics is None else (statistics.mean, statistics.var)
        scales.append([np.broadcast_to(figure, item.shape).reshape(-1) for figure in (means, np.sqrt(variances))])
    means, deviations = zip(*scales, strict=True)
    return np.concatenate(means), np.concatenate(deviations)


def _is_dict(space: Any) -> bool:
    return type(space).__name__ == "Dict"


def _bounds(bounds: Any) -> tuple[float | None, ...] | None:
    flat = [float(bound) if np.isfinite(bound) else None for bound in np.asarray(bounds).reshape(-1)]
    return tuple(flat) if any(bound is not None for bound in flat) else None


_HEADS = {"Discrete": "argmax", "MultiDiscrete": "argmaxes", "MultiBinary": "round"}


def _check_spaces(model: Any, vec_normalize: Any) -> None:
    inputs = inputs_of(model.observation_space)
    space_of(model.action_space)
    if vec_normalize is None or not vec_normalize.norm_obs:
        return
    statistics = vec_normalize.obs_rms if _is_dict(model.observation_space) else {"obs": vec_normalize.obs_rms}
    shapes = {item.name: item.shape for item in inputs}
    for name, seen in statistics.items():
        # Another order of axes would be stretched silently, in the graph as in VecNormalize itself.
        if shapes.get(name) != seen.mean.shape:
            raise ExportFailed(
                f"VecNormalize knows {name} as {seen.mean.shape}, the model as {shapes.get(name)}",
                "put VecNormalize around what transposes images",
            )


def _compose(model: Any, vec_normalize: Any, parts: list[Any], head: str) -> Any:
    import torch

    network = torch.nn.Sequential(*[copy.deepcopy(part) for part in parts]).to("cpu").eval().requires_grad_(False)

    spaces = model.observation_space.spaces if _is_dict(model.observation_space) else {"obs": model.observation_space}
    names = list(spaces)

    class Greedy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = torch.nn.ModuleList([_normaliser(vec_normalize, name) for name in names])
            self.has_pixels = [_has_pixels(model, spaces[name]) for name in names]
            self.network = network
            self.after = _head(head, model.action_space)

        def answer(self, *parts: Any) -> Any:
            seen = [before(part) for before, part in zip(self.before, parts, strict=True)]
            seen = [part / 255.0 if has else part for has, part in zip(self.has_pixels, seen, strict=True)]
            outputs = self.network(
                dict(zip(names, seen, strict=True)) if _is_dict(model.observation_space) else seen[0]
            )
            return self.after(outputs), outputs

    class GreedyOfOne(Greedy):
        def forward(self, obs: Any) -> Any:
            return self.answer(obs)

    class GreedyOfMany(Greedy):
        def forward(self, *parts: Any) -> Any:
            return self.answer(*parts)

    return (GreedyOfMany() if _is_dict(model.observation_space) else GreedyOfOne()).eval()


def _has_pixels(model: Any, space: Any) -> bool:
    from stable_baselines3.common.preprocessing import is_image_space

    return bool(model.policy.normalize_images and is_image_space(space))


def _normaliser(vec_normalize: Any, name: str) -> Any:
    import torch

    class Normalise(torch.nn.Module):
        """The formula of SB3's VecNormalize.normalize_obs, in float64 as there."""

        def __init__(self, mean: Any, deviation: Any, limit: float) -> None:
            super().__init__()
            self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float64))
            self.register_buffer("deviation", torch.as_tensor(deviation, dtype=torch.float64))
            self.limit = limit

        def forward(self, obs: Any) -> Any:
            scaled = (obs.to(torch.float64) - self.mean) / self.deviation
            return torch.clamp(scaled, -self.limit, self.limit).to(torch.float32)

    if vec_normalize is None or not vec_normalize.norm_obs:
        return torch.nn.Identity()
    statistics = vec_normalize.obs_rms
    if isinstance(statistics, dict):
        if name not in statistics:
            return torch.nn.Identity()
        statistics = statistics[name]
    deviation = np.sqrt(statistics.var + vec_normalize.epsilon)
    return Normalise(statistics.mean, deviation, float(vec_normalize.clip_obs))


def _head(kind: str, action_space: Any) -> Any:
    import torch

    class Argmax(torch.nn.Module):
        def forward(self, outputs: Any) -> Any:
            return outputs.argmax(dim=1)

    class Bounded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("low", torch.as_tensor(action_space.low, dtype=torch.float32))
            self.register_buffer("high", torch.as_tensor(action_space.high, dtype=torch.float32))

        def forward(self, outputs: Any) -> Any:
            low: Any = self.low
            high: Any = self.high
            if kind == "clip":
                return torch.minimum(torch.maximum(outputs, low), high)
            scaled = torch.tanh(outputs) if kind == "squash" else outputs
            return low + 0.5 * (scaled + 1.0) * (high - low)

    class Argmaxes(torch.nn.Module):
        def forward(self, outputs: Any) -> Any:
            ends = np.cumsum(action_space.nvec).tolist()
            starts = [0, *ends[:-1]]
            return torch.stack(
                [outputs[:, start:end].argmax(dim=1) for start, end in zip(starts, ends, strict=True)], dim=1
            )

    class Round(torch.nn.Module):
        """The mode of SB3's BernoulliDistribution."""

        def forward(self, outputs: Any) -> Any:
            return torch.round(torch.sigmoid(outputs)).to(torch.int64)

    heads = {"argmax": Argmax, "argmaxes": Argmaxes, "round": Round}
    return heads.get(kind, Bounded)()
