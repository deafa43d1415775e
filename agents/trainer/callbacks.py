"""SB3 callbacks: progress for whoever waits, risk figures for whoever watches. Neither changes what is learnt."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stable_baselines3.common.callbacks import BaseCallback

from agents.trainer.config import WorkerProgress


class Advisor(Protocol):
    """What the callback needs of `agents.risk.RiskAdvisor`."""

    def evaluate(self, observation: Mapping[str, float], /) -> Mapping[str, float]:
        """Return risk metrics by name for the account figures given. Enforces nothing."""
        ...


class RiskAwareCallback(BaseCallback):  # type: ignore[misc]
    """Logs the advisor's metrics as `risk/NAME` every `every` calls, the mean over the parallel environments.

    The advisor is shown the numbers in the environments' `info`. It is asked to calculate only: no action, reward or
    episode changes. `metrics` holds the last values, `worst` the largest magnitude of each so far.
    """

    def __init__(self, advisor: Advisor, *, every: int = 100, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._advisor = advisor
        self._every = every
        self.metrics: dict[str, float] = {}
        self.worst: dict[str, float] = {}

    def _on_step(self) -> bool:
        if self.n_calls % self._every == 0:
            found = [dict(self._advisor.evaluate(_numbers(info))) for info in self.locals.get("infos", ())]
            names = sorted({name for metrics in found for name in metrics})
            for name in names:
                values = [metrics[name] for metrics in found if name in metrics]
                self.metrics[name] = sum(values) / len(values)
                self.worst[name] = max([*values, self.worst.get(name, 0.0)], key=abs)
                self.logger.record(f"risk/{name}", self.metrics[name])
        return True


class ProgressCallback(BaseCallback):  # type: ignore[misc]
    """Tells `report` how far training is, about every `every` timesteps."""

    def __init__(self, report: Callable[[WorkerProgress], None], *, total: int, every: int) -> None:
        super().__init__()
        self._report = report
        self._total = total
        self._every = every
        self._next = every

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next = self.num_timesteps + self._every
            episodes = self.model.ep_info_buffer or ()
            rewards = [float(episode["r"]) for episode in episodes]
            self._report(
                WorkerProgress(
                    timesteps_done=min(self.num_timesteps, self._total),
                    timesteps_total=self._total,
                    mean_reward=sum(rewards) / len(rewards) if rewards else None,
                )
            )
        return True


def _numbers(info: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in info.items() if isinstance(value, int | float)}
