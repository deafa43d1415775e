"""Stable-Baselines3 models as a LearnerConfig describes them. Importing this needs the extra `train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3

from agents.trainer.config import LearnerConfig
from messages.training import Algorithm

MODEL_DIR = "policy_bundle"
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


def save_model(model: Any, run_dir: Path, facts: Mapping[str, Any]) -> Path:
    """Write all that training can go on from, in `run_dir`/policy_bundle; return its policy.zip.

    policy.zip: weights and optimiser state; vec_normalize.pkl and replay_buffer.pkl where the model has them;
    metadata.json: `facts`. It is for development, unsigned, pickled: nothing that serves reads it.
    """
    directory = run_dir / MODEL_DIR
    directory.mkdir(parents=True, exist_ok=True)
    model.save(directory / "policy.zip")
    (directory / "metadata.json").write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")
    if (normaliser := model.get_vec_normalize_env()) is not None:
        normaliser.save(str(directory / "vec_normalize.pkl"))
    if getattr(model, "replay_buffer", None) is not None:
        model.save_replay_buffer(directory / "replay_buffer.pkl")
    return directory / "policy.zip"


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
