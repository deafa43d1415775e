"""What a journey's log must prove, computed from the JSON on the topics."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from agents.assembly import scope_of
from agents.replay.replay import Replayed, replay
from agents.settings import read_settings
from tests.checker import check_shard
from tests.journeys.cluster import Cluster, last_snapshot
from tests.journeys.cluster_settings import SHARDS
from tests.journeys.plain_kafka import Json, Log


def problems(log: Log) -> list[str]:
    """Return what breaks the promises of any shard's log; nothing when they hold."""
    wrong = [
        f"shard {number}: {problem}"
        for number in range(SHARDS)
        for problem in check_shard(
            market=log.topic("market", number),
            orders=log.topic("orders", number),
            decisions=log.topic("decisions", number),
        )
    ]
    wrong += log.unfit()
    ids = [order["order_id"] for order in log.of("orders", "Order")]
    return wrong if len(ids) == len(set(ids)) else [*wrong, "an order id is on two partitions"]


def replayed(log: Log, cluster: Cluster, registry: Path) -> Replayed:
    """Derive every decision and order again from the records that were read back."""
    settings = read_settings(cluster.settings_file, environment={})
    return replay(
        log.topic,
        partitions=SHARDS,
        scope=scope_of(settings),
        config=settings.execution,
        bundles_dir=registry,
    )


def wrong_bundles(orders: Sequence[Json], swaps: Sequence[Json]) -> list[str]:
    """Return orders that don't name the bundle which `Swapped` says was live at their market offset."""
    wrong = []
    for order in orders:
        live = max(
            (
                swap
                for swap in swaps
                if swap["instrument"] == order["instrument"] and swap["market_from"] <= order["source"]["offset"]
            ),
            key=lambda swap: swap["market_from"],
        )
        if live["bundle_id"] != order["bundle_id"]:
            wrong.append(f"order at {order['source']} names {order['bundle_id']}, live was {live['bundle_id']}")
    return wrong


def positions_of(reports: Sequence[Json]) -> dict[str, float]:
    """Rebuild positions from the totals of each order's last report, in decimal arithmetic."""
    last: dict[str, Json] = {}
    for report in reports:
        known = last.setdefault(report["order_id"], report)
        if report["report_seq"] > known["report_seq"]:
            last[report["order_id"]] = report
    held: dict[str, Decimal] = defaultdict(Decimal)
    for report in last.values():
        quantity = Decimal(repr(report["cumulative_quantity"]))
        held[report["instrument"]] += quantity if report["side"] == "buy" else -quantity
    return {instrument: float(quantity) for instrument, quantity in held.items()}


def has_risk_booked_all(log: Log) -> bool:
    """Whether the positions in Risk's last snapshot are those that the reports add up to."""
    snapshot = last_snapshot(log)
    if snapshot is None:
        return False
    seen = {view["instrument"]: view["quantity"] for view in snapshot["positions"]}
    rebuilt = positions_of(log.of("reports", "ExecutionReport"))
    return {name: held for name, held in rebuilt.items() if held} == {name: held for name, held in seen.items() if held}


def outcomes(log: Log) -> dict[str, int]:
    """Count the outcomes of all market records, denials by code."""
    found: Counter[str] = Counter()
    for batch in log.of("decisions", "DecisionBatch"):
        for step in batch["steps"]:
            for decision in step.get("decisions", ()):
                found[decision.get("denial", {}).get("code", decision["outcome"])] += 1
    return dict(found)
