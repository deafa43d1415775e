"""What the exactness drills trade: four shards, two instruments each, under limits that end no drill."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agents.feed.synthetic import synthetic_instruments
from bundles.signing import SigningKey
from messages import TOPICS
from tests.journeys.cluster import Cluster
from tests.journeys.cluster_settings import STRATEGY, Announced, make_bundle
from tests.journeys.plain_kafka import Log

SHARDS = 4
INSTRUMENTS = tuple(f"SYN-{letter}" for letter in "ABCDEFGH")  # murmur2 puts two of them into each of four partitions
PRICES = dict.fromkeys(INSTRUMENTS, (100.0, 101.0))
_ROOMY = 1e12
# Short, so that a hundred kills take minutes: what is judged counts from the assignment. The broker must allow it.
BROKER_SETTINGS = {"group.min.session.timeout.ms": "1000"}
SHORT_SESSIONS = {"session_s": 2.0, "rebalance_s": 6.0, "revoke_s": 5.0}
_READ = ("market", "orders", "decisions", "reports", "status", "control", "dead-letters")


def settings() -> dict[str, Any]:
    """Return the groups of settings in which the drills differ from the journeys."""
    instruments = [
        {field: getattr(instrument, field) for field in instrument.__struct_fields__}
        for instrument in synthetic_instruments(len(INSTRUMENTS))
    ]
    orders = {"max_position": 2.0, "max_order_value": _ROOMY, "max_repeated_executions": 1_000_000}
    orders |= {"max_gross_exposure": _ROOMY, "max_net_exposure": _ROOMY}
    portfolio = {"max_daily_loss": _ROOMY, "max_gross_exposure": _ROOMY, "max_net_exposure": _ROOMY}
    return {
        "shards": SHARDS,
        "cash": 1e9,
        "instruments": instruments,
        "strategies": {STRATEGY: list(INSTRUMENTS)},
        "limits": {"defaults": orders, "portfolio": portfolio},
        "execution": {"decisions": {"runtime": "mlp"}, "staging_timeout_ms": 60_000},  # nothing of torch to import
    }


def new_bundle(home: Path, key: SigningKey, *, sequence: int) -> Announced:
    """Export the policy number `sequence`; no two of them act alike."""
    return make_bundle(
        home, sequence=sequence, enter=0.2 + sequence / 1000, decide_every=4, key=key, instruments=INSTRUMENTS
    )


def read_back(cluster: Cluster, topics: Iterable[str] = _READ) -> Log:
    """Return a new reader of what the checks need, from the beginnings."""
    return Log(cluster.url, cluster.prefix, {name: TOPICS[name].partitions(SHARDS) for name in topics})
