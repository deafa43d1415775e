"""What the drills of risk trade: two strategies on four shards, one that takes liquidity and one whose orders rest."""

from pathlib import Path
from typing import Any

from agents.feed.synthetic import synthetic_instruments
from bundles.signing import SigningKey
from tests.journeys.cluster_settings import Announced, make_bundle

TAKING, RESTING = "taking", "resting"
# murmur2 puts one of each strategy into each of four partitions
STRATEGIES = {TAKING: ("SYN-A", "SYN-B", "SYN-C", "SYN-E"), RESTING: ("SYN-D", "SYN-F", "SYN-G", "SYN-H")}
INSTRUMENTS = tuple(sorted(name for names in STRATEGIES.values() for name in names))
STRATEGY_OF = {name: strategy for strategy, names in STRATEGIES.items() for name in names}
PRICES = dict.fromkeys(INSTRUMENTS, (100.0, 101.0))
MULTIPLIERS = {instrument.instrument: instrument.multiplier for instrument in synthetic_instruments(len(INSTRUMENTS))}
CASH = 1e9
RISK_TIMEOUT_MS = 2_000
_ROOMY = 1e12


def settings() -> dict[str, Any]:
    """Return the groups of settings in which the drills differ from the journeys: limits that end no drill."""
    instruments = [
        {field: getattr(instrument, field) for field in instrument.__struct_fields__}
        for instrument in synthetic_instruments(len(INSTRUMENTS))
    ]
    orders = {"max_position": 2.0, "max_order_value": _ROOMY, "max_repeated_executions": 1_000_000}
    orders |= {"max_gross_exposure": _ROOMY, "max_net_exposure": _ROOMY, "duplicate_window_ms": 0}
    portfolio = {"max_daily_loss": _ROOMY, "max_gross_exposure": _ROOMY, "max_net_exposure": _ROOMY}
    portfolio |= {"max_loss_streak": 1_000_000}
    return {
        "cash": CASH,
        "instruments": instruments,
        "strategies": {strategy: list(names) for strategy, names in STRATEGIES.items()},
        "limits": {"defaults": orders, "portfolio": portfolio},
        "risk": {"snapshot_interval_ms": 200, "heartbeat_interval_ms": 500},
        "execution": {
            "decisions": {"runtime": "mlp"},  # nothing of torch to import
            "risk_timeout_ms": RISK_TIMEOUT_MS,
            "timer_interval_ms": 200,
            "staging_timeout_ms": 60_000,
        },
    }


def new_bundles(home: Path, key: SigningKey) -> dict[str, Announced]:
    """Export the policy of each strategy."""
    return {
        strategy: make_bundle(
            home,
            sequence=1,
            enter=0.2,
            decide_every=1,
            key=key,
            instruments=names,
            strategy=strategy,
            resting_ticks=1 if strategy == RESTING else None,
        )
        for strategy, names in STRATEGIES.items()
    }
