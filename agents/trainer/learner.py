"""Stable-Baselines3 models as a LearnerConfig describes them. Importing this needs the extra `train`."""

from collections.abc import Mapping
from typing import Any

from stable_baselines3 import A2C, DQN, PPO, SAC, TD3

from agents.trainer.config import LearnerConfig
from messages.training import Algorithm

_MODELS: Mapping[Algorithm, Any] = {"dqn": DQN, "ppo": PPO, "a2c": A2C, "sac": SAC, "td3": TD3}


def build_model(algorithm: Algorithm, env: Any, config: LearnerConfig, seed: int) -> Any:
    """Return an untrained model on the CPU. `env` is a gymnasium environment or an SB3 VecEnv."""
    return _MODELS[algorithm](
        "MlpPolicy",
        env,
        seed=seed,
        device="cpu",
        verbose=0,
        learning_rate=config.learning_rate,
        gamma=config.gamma,
        policy_kwargs={"net_arch": list(config.net_arch)},
        **_specific(algorithm, config),
    )


def _specific(algorithm: Algorithm, config: LearnerConfig) -> dict[str, Any]:
    if algorithm == "a2c":
        return {"n_steps": 16}
    if algorithm == "ppo":
        return {"n_steps": max(32, 1024 // config.parallel_environments), "batch_size": config.batch_size}
    off_policy = {
        "batch_size": config.batch_size,
        "buffer_size": config.buffer_size,
        "learning_starts": config.learning_starts,
        "train_freq": config.train_every,
        "gradient_steps": config.gradient_steps,
    }
    if algorithm != "dqn":
        return off_policy
    return off_policy | {
        "target_update_interval": config.target_update_every,
        "exploration_fraction": config.exploration_share,
        "exploration_final_eps": config.exploration_end,
    }
