"""`calculate_only`, beside the same arithmetic typed where it is needed, without checks and without limits."""

import math
import random
from collections.abc import Mapping
from typing import Any

from agents.risk.calculators import METRICS, SCALARS, SERIES
from agents.risk.engine import RiskEngine
from agents.risk.limits.file import Limits
from tests.bench.risk.sampling import Size, calls_beside

WINDOWS = (20, 250)
Results = list[dict[str, Any]]


def observations(window: int | None, count: int = 64) -> list[dict[str, Any]]:
    """Accounts of one instrument, all quantities given; `window`: so many returns and closed trades beside them."""
    chance = random.Random(7)
    found = []
    for _ in range(count):
        price, position = chance.uniform(90.0, 110.0), chance.uniform(-5.0, 5.0)
        observed: dict[str, Any] = {
            "position": position,
            "price": price,
            "average_price": chance.uniform(90.0, 110.0),
            "multiplier": 1.0,
            "equity": chance.uniform(9_000.0, 11_000.0),
            "cash": 10_000.0,
            "peak_equity": 11_000.0,
            "day_start_equity": 10_000.0,
            "gross_exposure": abs(position * price),
            "net_exposure": position * price,
            "traded_value": chance.uniform(0.0, 1e6),
            "orders": 100,
            "rejects": chance.randint(0, 10),
        }
        if window is not None:
            observed["returns"] = [chance.gauss(0.0, 0.01) for _ in range(window)]
            observed["trade_pnls"] = [chance.gauss(0.0, 50.0) for _ in range(window)]
        found.append(observed)
    return found


def bare(o: Mapping[str, Any]) -> dict[str, float]:
    """The scalar figures as one would type them."""
    equity = o["equity"]
    return {
        "exposure": o["position"] * o["price"] * o["multiplier"],
        "unrealized_pnl": o["position"] * (o["price"] - o["average_price"]) * o["multiplier"],
        "drawdown": max(0.0, (o["peak_equity"] - equity) / o["peak_equity"]),
        "daily_loss": max(0.0, o["day_start_equity"] - equity),
        "gross_exposure": o["gross_exposure"],
        "net_exposure": o["net_exposure"],
        "leverage": o["gross_exposure"] / equity,
        "turnover": o["traded_value"] / equity,
        "reject_ratio": o["rejects"] / o["orders"],
    }


def bare_series(o: Mapping[str, Any]) -> dict[str, float]:
    """The figures of returns and trades too."""
    returns, streak = o["returns"], 0
    for pnl in reversed(o["trade_pnls"]):
        if pnl > 0:
            break
        streak += 1
    worst = sorted(returns)[: len(returns) // 20 + 1]
    mean = sum(returns) / len(returns)
    return bare(o) | {
        "loss_streak": streak,
        "volatility": math.sqrt(sum((each - mean) ** 2 for each in returns) / (len(returns) - 1)),
        "value_at_risk": -worst[-1],
        "expected_shortfall": -sum(worst) / len(worst),
    }


def results(size: Size) -> Results:
    """Lines of all metrics of numbers, then of all metrics with windows of returns and trades."""
    engine = RiskEngine(Limits())
    given = [(observed,) for observed in observations(None)]
    found = calls_beside(
        f"calculate_only, all {len(SCALARS)} metrics of numbers",
        engine.calculate_only,
        bare,
        given,
        size,
        most_us={50: 5.0, 99: 50.0},
    )
    for window in WINDOWS:
        found += calls_beside(
            f"calculate_only, all {len(METRICS)} metrics, {window} values in {' and '.join(SERIES)}",
            engine.calculate_only,
            bare_series,
            [(observed,) for observed in observations(window)],
            size,
            most_us={50: None, 99: 50.0 if window == WINDOWS[0] else None},
        )
    return found
