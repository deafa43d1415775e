"""The Trainer. Training itself needs the extra `train` (Stable-Baselines3, gymnasium), imported on first use."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.trainer.agent import TrainerAgent
from agents.trainer.config import TrainerConfig

if TYPE_CHECKING:
    from agents.trainer.callbacks import RiskAwareCallback
    from agents.trainer.embedded import EmbeddedTrainer
    from agents.trainer.env import MarketEnv

__all__ = ["MarketEnv", "RiskAwareCallback", "TrainerAgent", "TrainerConfig", "create_trainer_agent"]

_TRAIN_EXTRA = "training needs the extra `train`: pip install 'tickpilot[train]'"


def create_trainer_agent(config: "TrainerConfig | Mapping[str, Any]") -> "EmbeddedTrainer":
    """Return a trainer for one's own environment: `create_trainer_agent(config).run(env)` -> the bundle's directory.

    Raises ImportError without the extra `train`, msgspec.ValidationError for a mapping that is no TrainerConfig.
    """
    try:
        from agents.trainer.embedded import create
    except ModuleNotFoundError as error:
        raise ImportError(_TRAIN_EXTRA) from error
    return create(config)


def __getattr__(name: str) -> Any:
    homes = {"RiskAwareCallback": "callbacks", "MarketEnv": "env"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{homes[name]}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(_TRAIN_EXTRA) from error
