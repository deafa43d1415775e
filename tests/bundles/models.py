"""Small Stable-Baselines3 models, trained for a moment, of each kind that can be exported."""

from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from bundles.actions import ActionMapping
from bundles.signing import SigningKey
from tests.bundles.samples import CREATED, OBS

CONTINUOUS = ActionMapping(kind="continuous", max_position=1.0)
SCALES = np.array([1e-3, 1.0, 50.0, 1e4])


class Walk(gymnasium.Env[Any, Any]):
    """Observations on very different scales, so that a missing normaliser shows."""

    def __init__(self, action_space: gymnasium.Space[Any], shape: tuple[int, ...] = (OBS,)) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.action_space = action_space
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._observe(), float(np.sum(action)), False, self._steps >= 20, {}

    def _observe(self) -> Any:
        scales = SCALES if self.observation_space.shape == (OBS,) else 1.0
        return (self.np_random.standard_normal(self.observation_space.shape) * scales).astype(np.float32)


class Pictures(Walk):
    """Bytes, as from a camera."""

    def __init__(self, action_space: gymnasium.Space[Any]) -> None:
        super().__init__(action_space)
        self.observation_space = gymnasium.spaces.Box(0, 255, (1, 36, 36), np.uint8)

    def _observe(self) -> Any:
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)


class Parts(Walk):
    """A matrix on a large scale, and a vector within bounds."""

    def __init__(self, action_space: gymnasium.Space[Any]) -> None:
        super().__init__(action_space)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "book": gymnasium.spaces.Box(-np.inf, np.inf, (2, 3), np.float32),
                "account": gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32),
            }
        )

    def _observe(self) -> Any:
        return {
            "book": (self.np_random.standard_normal((2, 3)) * 100.0).astype(np.float32),
            "account": self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32),
        }


class PartsAndPicture(Parts):
    """And a picture."""

    def __init__(self, action_space: gymnasium.Space[Any]) -> None:
        super().__init__(action_space)
        chart = gymnasium.spaces.Box(0, 255, (1, 36, 36), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({**self.observation_space, "chart": chart})  # type: ignore[dict-item]

    def _observe(self) -> Any:
        return {**super()._observe(), "chart": self.np_random.integers(0, 256, (1, 36, 36), dtype=np.uint8)}


DISCRETE = gymnasium.spaces.Discrete(3)
BOX = gymnasium.spaces.Box(-2.0, 1.0, (1,), np.float32)
SIZES: dict[str, dict[str, Any]] = {
    "DQN": {"learning_starts": 10, "buffer_size": 100},
    "PPO": {"n_steps": 16, "batch_size": 16, "n_epochs": 1},
    "A2C": {"n_steps": 8},
    "SAC": {"learning_starts": 10, "buffer_size": 100},
    "TD3": {"learning_starts": 10, "buffer_size": 100},
}


WIDE = gymnasium.spaces.Box(np.array([-2, 0, -1e3], np.float32), np.array([1, 1e-3, 1e3], np.float32), dtype=np.float32)


POLICIES: dict[type[Walk], tuple[str, dict[str, int]]] = {
    Walk: ("MlpPolicy", {}),
    Pictures: ("CnnPolicy", {"features_dim": 8}),
    Parts: ("MultiInputPolicy", {}),
    PartsAndPicture: ("MultiInputPolicy", {"cnn_output_dim": 8}),
}


def trained(
    algorithm: str, action_space: gymnasium.Space[Any], environment: type[Walk] = Walk, **options: Any
) -> tuple[Any, VecNormalize]:
    torch.set_num_threads(1)
    vectorised = DummyVecEnv([lambda: environment(action_space)])
    keys = ["book"] if issubclass(environment, Parts) else None
    normalised = VecNormalize(vectorised, norm_obs=True, norm_obs_keys=keys)
    policy, extractor = POLICIES[environment]
    small = {"net_arch": [16], "features_extractor_kwargs": extractor}
    options = {"policy_kwargs": small, **SIZES[algorithm], **options}
    env: Any = vectorised if environment is Pictures else normalised
    model = getattr(stable_baselines3, algorithm)(policy, env, seed=1, device="cpu", **options)
    model.learn(32)
    return model, normalised


def facts(key: SigningKey, actions: ActionMapping | None, **changes: Any) -> Any:
    return {
        "strategy": "momentum",
        "instruments": ("AAA",),
        "features": None,
        "actions": actions,
        "sequence": 1,
        "created": CREATED,
        "run_name": "run",
        "key": key,
        **changes,
    }
