"""What a policy earns on ticks that it has not seen, beside doing nothing and acting at random."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from agents.trainer.config import EnvironmentConfig
from agents.trainer.env import MarketEnv
from agents.trainer.market import Market
from bundles.features import Floats32

Act = Callable[[Floats32], Any]
_MAX_SAMPLE = 8192


class Evaluation(NamedTuple):
    """Held-out figures by name, and the observations that the policy has met."""

    figures: dict[str, float]
    observations: Floats32


class _Run(NamedTuple):
    pnl_bps: float
    drawdown_bps: float
    trades: float
    decisions: int
    observations: list[Floats32]


def evaluate(act: Act, markets: Sequence[Market], config: EnvironmentConfig, *, seed: int) -> Evaluation:
    """Trade each market once from its first to its last quote, after spread and fees.

    Figures in basis points of `max_position`'s value, mean over the markets: `pnl_bps` and `max_drawdown_bps` with the
    trained interval between decisions, `pnl_every_quote_bps` deciding at each quote, `random_pnl_bps` for random
    actions, `flat_pnl_bps`, which is 0. `trades` and `decisions` are sums.
    """
    every_quote = msgspec.structs.replace(config, actions=msgspec.structs.replace(config.actions, decide_every=1))
    random = np.random.default_rng(seed)
    spaces = MarketEnv(markets, config).action_space
    spaces.seed(seed)
    trained = [_run(act, market, config) for market in markets]
    quick = [_run(act, market, every_quote) for market in markets]
    blind = [_run(lambda _: spaces.sample(), market, config) for market in markets]
    seen = np.array([observation for run in quick for observation in run.observations], dtype=np.float32)
    if len(seen) > _MAX_SAMPLE:
        seen = seen[np.sort(random.choice(len(seen), _MAX_SAMPLE, replace=False))]
    figures = {
        "pnl_bps": _mean([run.pnl_bps for run in trained]),
        "max_drawdown_bps": max(run.drawdown_bps for run in trained),
        "pnl_every_quote_bps": _mean([run.pnl_bps for run in quick]),
        "random_pnl_bps": _mean([run.pnl_bps for run in blind]),
        "flat_pnl_bps": 0.0,
        "trades": sum(run.trades for run in trained),
        "decisions": float(sum(run.decisions for run in trained)),
    }
    return Evaluation(figures=figures, observations=seen)


def _run(act: Act, market: Market, config: EnvironmentConfig) -> _Run:
    env = MarketEnv([market], config, whole=True)
    observation, info = env.reset(seed=0)
    seen: list[Floats32] = []
    total, peak, drawdown, truncated = 0.0, 0.0, 0.0, False
    while not truncated:
        seen.append(observation)
        observation, reward, _, truncated, info = env.step(act(observation))
        total += reward
        peak = max(peak, total)
        drawdown = max(drawdown, peak - total)
    return _Run(total, drawdown, info["trades"], len(seen), seen)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
