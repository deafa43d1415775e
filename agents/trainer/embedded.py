"""Training in one's own program, on one's own environment."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agents.trainer.config import TrainerConfig
from agents.trainer.learner import build_model, save_model
from bundles import export_policy
from bundles.signing import SigningKey
from messages import Clock, Refused, SystemClock

_log = logging.getLogger(__name__)


class EmbeddedTrainer:
    """Trains a policy where it is called. Made by `create_trainer_agent`."""

    def __init__(self, config: TrainerConfig, *, clock: Clock) -> None:
        self.config = config
        self._clock = clock

    def run(self, env: Any, *, callback: Any = None, sequence: int = 0, created: int | None = None) -> Path:
        """Train on a gymnasium environment or SB3 VecEnv; save, export and sign; return the bundle's directory.

        The SB3 model is at MODELS/RUN/policy_bundle/policy.zip (as `save_model` writes it, before the export is tried),
        the bundle at MODELS/RUN/RUN_torchscript. A VecNormalize wrapper goes into the bundle. An environment whose
        observations come from a FeatureSpec says so by an attribute `feature_spec`; others are served with Observation
        messages. `callback` is for SB3, e.g. a RiskAwareCallback. `created` (ns) defaults to the clock.
        Raises Refused when the config names no instrument, KeyRefused, ExportFailed and BundleRefused; the saved
        model stays.
        """
        config = self.config
        if not config.instruments:
            raise Refused("the config names no instrument; set `instruments` to those that the bundle may trade")
        key = SigningKey.read(config.signing_key) if config.signing_key is not None else None
        model = build_model(config.algorithm, env, config.learner, config.seed)
        model.learn(config.timesteps, callback=callback)
        directory = Path(config.models_dir) / config.run_name
        saved = save_model(model, directory, {"config": msgspec.to_builtins(config)})
        try:
            return self._export(model, env, key, directory, sequence, created)
        except Refused:
            _log.warning("run %s has no bundle, its model is %s", config.run_name, saved)
            raise

    def _export(
        self, model: Any, env: Any, key: SigningKey | None, directory: Path, sequence: int, created: int | None
    ) -> Path:
        config = self.config
        return export_policy(
            model,
            out_dir=directory,
            vec_normalize=model.get_vec_normalize_env(),
            run_name=f"{config.run_name}_torchscript",
            policy_id=config.run_name,
            strategy=config.strategy,
            instruments=config.instruments,
            features=_feature_spec(env),
            actions=config.environment.actions,
            sequence=sequence,
            created=self._clock.now_ns() if created is None else created,
            key=key,
            training={"timesteps": config.timesteps, "seed": config.seed},
        )


def _feature_spec(env: Any) -> Any:
    if hasattr(env, "get_attr"):
        return env.get_attr("feature_spec")[0] if env.has_attr("feature_spec") else None
    return getattr(env.unwrapped, "feature_spec", None)


def create(config: TrainerConfig | Mapping[str, Any], clock: Clock | None = None) -> EmbeddedTrainer:
    """Return a trainer; a mapping is checked like a settings file (raises msgspec.ValidationError)."""
    checked = config if isinstance(config, TrainerConfig) else msgspec.convert(dict(config), TrainerConfig)
    return EmbeddedTrainer(checked, clock=clock or SystemClock())
