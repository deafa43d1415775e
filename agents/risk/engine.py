"""Risk figures beside the limits of a file, for training and for anyone who wants to know. Nothing is enforced."""

from pathlib import Path

from msgspec import Struct

from agents.risk.calculators import QUANTITIES, Observed, calculate
from agents.risk.limits.file import Limits

# Metric -> the limit of the portfolio that it is held against.
LIMIT_OF: dict[str, str] = {
    "drawdown": "max_drawdown",
    "daily_loss": "max_daily_loss",
    "gross_exposure": "max_gross_exposure",
    "net_exposure": "max_net_exposure",
    "loss_streak": "max_loss_streak",
    "reject_ratio": "max_reject_ratio",
}


class Calculation(Struct, frozen=True, kw_only=True):
    """`metric_values` by metric; `limits`: what some of them are held against, by metric."""

    metric_values: dict[str, float]
    limits: dict[str, float]

    @property
    def used(self) -> dict[str, float]:
        """Which part of its limit a metric has used up (1 = all of it)."""
        values = self.metric_values
        return {metric: abs(values[metric]) / most for metric, most in self.limits.items() if metric in values}

    @property
    def breached(self) -> tuple[str, ...]:
        """Metrics beyond their limits, in alphabetical order."""
        return tuple(sorted(metric for metric, part in self.used.items() if part > 1))


class RiskEngine:
    """Calculates; `limits` are what the figures are held against."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._most = {metric: float(getattr(limits.portfolio, limit)) for metric, limit in LIMIT_OF.items()}

    @classmethod
    def from_yaml(cls, path: str | Path) -> "RiskEngine":
        """Return an engine with the limits of a file. Raises SettingsError as `Limits.read`."""
        return cls(Limits.read(path))

    def calculate_only(self, obs: Observed) -> Calculation:
        """Return all metrics that the named quantities (docs/risk.md) allow. Budget: 5 us.

        Raises BadObservation when one of them is not finite, UnknownQuantity for a name that is none of them.
        """
        return Calculation(metric_values=calculate(obs), limits=self._most)


class RiskAdvisor:
    """Answers with plain numbers, for reward shaping and notebooks. `policy_yaml`: path of a limits file."""

    def __init__(self, policy_yaml: str | Path) -> None:
        self._engine = RiskEngine.from_yaml(policy_yaml)

    def evaluate(self, obs: Observed) -> dict[str, float]:
        """Return {metric: value}, and for each metric that has a limit `METRIC_used`, the used part of it.

        Takes what it knows out of `obs`, so that an environment's whole `info` may be handed in. Raises BadObservation.
        """
        calculation = self._engine.calculate_only({name: obs[name] for name in obs if name in QUANTITIES})
        return calculation.metric_values | {f"{metric}_used": part for metric, part in calculation.used.items()}
