"""Train a policy that is shy of drawdowns, export it as a signed bundle, and try it as Execution would use it.

    python examples/train_risk_aware_model.py                     # under a minute, on made-up data
    python examples/train_risk_aware_model.py --timesteps 200000 --risk-bps 2

Needs the extra `train`. The data are made up (agents/feed/synthetic.py), with a weak signal that can be learnt: put
your own ticks into a TickRing instead. Everything lands in OUT: keys, limits, the Stable-Baselines3 model, the bundle.
"""

# ruff: noqa: T201 - a program that tells what it finds

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.execution import create_execution_agent_stub
from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from agents.risk import RiskAdvisor
from agents.trainer import MarketEnv, RiskAwareCallback, TrainerConfig, create_trainer_agent
from agents.trainer.config import EnvironmentConfig, LearnerConfig
from agents.trainer.evaluation import evaluate
from agents.trainer.market import Market, prepare
from bundles.features import Observer, TickRing
from bundles.signing import SigningKey
from messages import Quote, Trade

# What the policy is held against: the same file that the Risk agent reads (`limits` in the settings).
LIMITS = """\
portfolio:
  max_drawdown: 0.02        # of the highest equity so far
  max_daily_loss: 2000.0    # currency
"""


class RiskAverseReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes up to `risk_bps` off each reward: the part of the drawdown limit that is used up, times this."""

    def __init__(self, env: MarketEnv, advisor: RiskAdvisor, risk_bps: float) -> None:
        super().__init__(env)
        self._advisor, self._risk_bps = advisor, risk_bps

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As MarketEnv, with the risk taken off the reward (basis points)."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        used = self._advisor.evaluate(info)["drawdown_used"]
        return observation, float(reward) - self._risk_bps * min(used, 1.0), terminated, truncated, info


def made_up_markets(ticks: int, seed: int, environment: EnvironmentConfig) -> list[Market]:
    """Return one market of quotes and trades for each of two instruments."""
    source = SyntheticSource(SyntheticConfig(ticks=ticks, seed=seed, instruments=2))
    instruments = {instrument.instrument: instrument for instrument in synthetic_instruments(2)}
    rings = {name: TickRing(ticks) for name in instruments}
    for message in source:
        if isinstance(message, Quote | Trade):
            rings[message.instrument].push(message)
    observer = Observer(environment.features)
    return [
        prepare(rings[name].rows(), instrument, observer, environment.latency_ns)
        for name, instrument in instruments.items()
    ]


def train(options: argparse.Namespace, markets: list[Market]) -> tuple[Path, Mapping[str, float]]:
    """Train and export; return the bundle's directory and the worst risk figures seen while learning."""
    out = Path(options.out)
    (out / "keys").mkdir(parents=True)
    SigningKey.generate().write(out / "keys" / "trainer.key")
    (out / "limits.yaml").write_text(LIMITS)
    advisor = RiskAdvisor(out / "limits.yaml")
    config = TrainerConfig(
        run_name="risk-aware",
        strategy="demo",
        instruments=tuple(market.instrument.instrument for market in markets),
        models_dir=str(out / "models"),
        signing_key=str(out / "keys" / "trainer.key"),
        timesteps=options.timesteps,
        seed=options.seed,
        learner=LearnerConfig(learning_starts=min(1_000, options.timesteps // 4)),
    )

    def environment() -> RiskAverseReward:
        return RiskAverseReward(MarketEnv(markets, config.environment), advisor, options.risk_bps)

    watch = RiskAwareCallback(advisor, every=20)
    env = DummyVecEnv([environment] * config.learner.parallel_environments)
    return create_trainer_agent(config).run(env, callback=watch), watch.worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="risk-aware-out", help="directory to make; must not be there")
    parser.add_argument("--timesteps", type=int, default=40_000)
    parser.add_argument("--ticks", type=int, default=20_000, help="made-up quotes and trades of both instruments")
    parser.add_argument("--risk-bps", type=float, default=0.5, help="taken off a reward when all of the limit is used")
    parser.add_argument("--trials", type=int, default=2_000, help="calls that are timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replace", action="store_true", help="remove what an earlier run has left")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    if options.replace:
        shutil.rmtree(out, ignore_errors=True)
    if out.exists():
        parser.error(f"{out} is there already; choose another --out, or say --replace")

    settings = EnvironmentConfig()
    bundle, worst = train(options, made_up_markets(options.ticks, options.seed, settings))
    print(f"bundle: {bundle}")
    for name in ("drawdown", "drawdown_used", "daily_loss"):
        print(f"  worst {name} while learning: {worst[name]:.4g}")

    stub = create_execution_agent_stub(bundle, trust=out / "keys")  # every check that Execution makes
    held_out = made_up_markets(options.ticks // 2, options.seed + 1, settings)
    figures = evaluate(lambda seen: stub.predict(seen)[0], held_out, settings, seed=options.seed).figures
    print("on data that it has not seen:")
    for name, value in figures.items():
        print(f"  {name}: {value:.4g}")

    observation = held_out[0].observations[0]
    action, info = stub.predict(observation)
    print(f"predict: action {action}, outputs {info['outputs'].round(3).tolist()}, bundle {info['bundle_id']}")
    latency = stub.validate_slo_compliance(options.trials)
    verdict = "within" if latency.is_compliant else "over"
    print(f"latency: p50 {latency.p50_us:.1f} us, p99 {latency.p99_us:.1f} us, {verdict} {latency.slo_us:g} us")
    against = stub.benchmark_against_baseline(100.0, num_trials=options.trials)
    print(f"against 100 us: {against.speedup:.1f} times as fast")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
