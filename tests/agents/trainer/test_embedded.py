"""Training in one's own program, and the callback that watches risk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.risk.instruments import Instrument
from agents.trainer import MarketEnv, RiskAwareCallback, create_trainer_agent
from agents.trainer.config import EnvironmentConfig
from agents.trainer.market import Market, prepare
from bundles import load_bundle
from bundles.errors import ExportFailed
from bundles.features import DEFAULT_FEATURES, Observer, TickRing
from bundles.signing import SigningKey, TrustStore
from messages import Refused

SMALL = {"learning_starts": 50, "batch_size": 16}


class OwnEnv(gymnasium.Env[Any, Any]):
    """Three actions, two numbers to see: nothing of the project in it."""

    observation_space = gymnasium.spaces.Box(-5, 5, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed, options=options)
        return self._look(), {}

    def step(self, action: Any) -> Any:
        return self._look(), float(action == 1), False, bool(self.np_random.random() < 0.1), {"drawdown": 2.0}

    def _look(self) -> Any:
        return self.np_random.normal(3, 1, 2).clip(-5, 5).astype(np.float32)


class DoubleDrawdown:
    def evaluate(self, observation: Mapping[str, float]) -> dict[str, float]:
        return {"drawdown_twice": 2 * observation["drawdown"]}


def settings(directory: Path, **changes: Any) -> dict[str, Any]:
    key = directory / "k.key"
    if not key.exists():
        SigningKey.generate().write(key)
    return {
        "run_name": "own",
        "instruments": ["X"],
        "models_dir": str(directory),
        "signing_key": str(key),
        "timesteps": 200,
        "learner": SMALL,
        **changes,
    }


def trust(directory: Path) -> TrustStore:
    return TrustStore.of([SigningKey.read(directory / "k.key")])


def flat_market() -> Market:
    ring = TickRing(1000)
    for n in range(600):
        ring.push_quote(n * 10**8, 100.0 + n % 3, 5 + n % 4, 100.5 + n % 3, 5)
    instrument = Instrument(instrument="X", price_step=0.01, quantity_step=1.0)
    return prepare(ring.rows(), instrument, Observer(DEFAULT_FEATURES), 0)


def test_own_environment_ends_in_a_signed_bundle(tmp_path: Path) -> None:
    path = create_trainer_agent(settings(tmp_path)).run(OwnEnv())
    bundle = load_bundle(path, trust=trust(tmp_path))
    assert bundle.manifest.features is None
    assert bundle.manifest.obs_shape == (2,)
    assert (tmp_path / "own/policy_bundle/policy.zip").is_file()


def test_a_normaliser_goes_into_the_bundle(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([OwnEnv]))
    path = create_trainer_agent(settings(tmp_path, algorithm="ppo", timesteps=64)).run(env)
    assert load_bundle(path, trust=trust(tmp_path)).manifest.algo == "ppo"
    assert (tmp_path / "own/policy_bundle/vec_normalize.pkl").is_file()


def test_the_model_is_saved_before_the_export_is_tried(tmp_path: Path) -> None:
    (tmp_path / "own/own_torchscript").mkdir(parents=True)
    env = VecNormalize(DummyVecEnv([OwnEnv]))
    with pytest.raises(ExportFailed, match="there already"):
        create_trainer_agent(settings(tmp_path)).run(env)
    names = {path.name for path in (tmp_path / "own/policy_bundle").iterdir()}
    assert names == {"policy.zip", "metadata.json", "vec_normalize.pkl", "replay_buffer.pkl"}


def test_the_market_environment_hands_its_features_to_the_bundle(tmp_path: Path) -> None:
    path = create_trainer_agent(settings(tmp_path)).run(MarketEnv([flat_market()], EnvironmentConfig()))
    assert load_bundle(path, trust=trust(tmp_path)).manifest.features == DEFAULT_FEATURES.sealed


def test_a_config_without_instruments_or_with_unknown_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="instrument"):
        create_trainer_agent(settings(tmp_path, instruments=[])).run(OwnEnv())
    with pytest.raises(msgspec.ValidationError, match="timestep"):
        create_trainer_agent({"timestep": 3})


def test_risk_metrics_are_watched_and_nothing_else_changes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    callback = RiskAwareCallback(DoubleDrawdown(), every=10)
    watched = create_trainer_agent(settings(tmp_path / "a")).run(OwnEnv(), callback=callback, created=1)
    alone = create_trainer_agent(settings(tmp_path / "b")).run(OwnEnv(), created=1)
    assert callback.metrics == callback.worst == {"drawdown_twice": 4.0}
    assert (watched / "policy.pt").read_bytes() == (alone / "policy.pt").read_bytes()
