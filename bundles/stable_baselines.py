"""From a Stable-Baselines3 model to the plain module that acts as its `predict(deterministic=True)` does.

Purpose-written: SB3's policy objects carry distributions and numpy calls that a trace would freeze wrongly.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from bundles.errors import ExportFailed
from bundles.manifest import Space

Reference = Callable[[Any], Any]


def greedy_module(model: Any, vec_normalize: Any = None) -> Any:
    """Return a torch module: forward(obs float32 [B, ...]) -> (action, outputs), the normaliser inside in float64.

    `model`: DQN, PPO, A2C, SAC or TD3 with one Box of observations, images included, and any action space that the
    algorithm has. The module holds copies of the weights. Raises ExportFailed for what can't be exported.
    """
    _check_spaces(model)
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
    """Return a function from observations [B, ...] to what the trained model itself answers, deterministically."""

    def predict(observations: Any) -> Any:
        rows = observations if vec_normalize is None else vec_normalize.normalize_obs(observations)
        actions, _ = model.predict(rows, deterministic=True)
        return actions

    return predict


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
    if kind == "Box":
        low, high = (_bounds(bounds) for bounds in (space.low, space.high))
        return Space(kind="box", shape=tuple(space.shape), dtype=str(space.dtype), low=low, high=high)
    raise ExportFailed(
        f"a space {space} can't be exported", "use Box, Discrete, MultiDiscrete (a row, from 0) or MultiBinary (a row)"
    )


def _bounds(bounds: Any) -> tuple[float | None, ...] | None:
    flat = [float(bound) if np.isfinite(bound) else None for bound in np.asarray(bounds).reshape(-1)]
    return tuple(flat) if any(bound is not None for bound in flat) else None


_HEADS = {"Discrete": "argmax", "MultiDiscrete": "argmaxes", "MultiBinary": "round"}


def _check_spaces(model: Any) -> None:
    if type(model.observation_space).__name__ != "Box":
        raise ExportFailed(f"observations of {model.observation_space} can't be exported", "use one Box")
    space_of(model.action_space)


def _compose(model: Any, vec_normalize: Any, parts: list[Any], head: str) -> Any:
    import torch

    network = torch.nn.Sequential(*[copy.deepcopy(part) for part in parts]).to("cpu").eval().requires_grad_(False)

    class Greedy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = _normaliser(vec_normalize)
            self.has_pixels = _has_pixels(model)
            self.network = network
            self.after = _head(head, model.action_space)

        def forward(self, obs: Any) -> Any:
            before = self.before(obs)
            outputs = self.network(before / 255.0 if self.has_pixels else before)
            return self.after(outputs), outputs

    return Greedy().eval()


def _has_pixels(model: Any) -> bool:
    from stable_baselines3.common.preprocessing import is_image_space

    return bool(model.policy.normalize_images and is_image_space(model.observation_space))


def _normaliser(vec_normalize: Any) -> Any:
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
    if not hasattr(vec_normalize.obs_rms, "mean"):
        raise ExportFailed("VecNormalize over a Dict space can't be exported", "use one Box observation")
    statistics = vec_normalize.obs_rms
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
