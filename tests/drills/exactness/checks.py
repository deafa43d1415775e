"""What a run's topics must prove, from the JSON that a plain client read; and the replay of all of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agents.assembly import scope_of
from agents.replay.replay import Replayed, replay
from agents.settings import read_settings
from messages import Record
from tests.checker import Json, check_shard, steps_of, valid
from tests.drills.checks import doubled, lost, places_by_id
from tests.drills.exactness.world import SHARDS
from tests.drills.load import Place
from tests.journeys.cluster import Cluster
from tests.journeys.plain_kafka import Log


def problems(log: Log, acknowledged: Mapping[int, Place]) -> list[str]:
    """Return what breaks a promise: of any shard's log, of the feed's records, of the bundles that orders name."""
    wrong = []
    for number in range(SHARDS):
        market, orders, decisions = (log.topic(topic, number) for topic in ("market", "orders", "decisions"))
        found = check_shard(market=market, orders=orders, decisions=decisions)
        found += wrong_bundles(orders, steps_of(decisions)[0])
        wrong += [f"shard {number}: {problem}" for problem in found]
    read = places_by_id((record for number in range(SHARDS) for record in log.topic("market", number)), "seq")
    wrong += [f"{len(found)} market records {what}: {found[:5]}" for what, found in _market(read, acknowledged).items()]
    ids = [order["order_id"] for order in log.of("orders", "Order")]
    if len(ids) != len(set(ids)):
        wrong.append("an order id is there twice")
    letters = sum(map(len, (log.topic("dead-letters"),)))
    return [*wrong, f"{letters} dead letters"] if letters else wrong


def _market(read: Mapping[int, list[Place]], acknowledged: Mapping[int, Place]) -> dict[str, list[int]]:
    found = {"lost": lost(acknowledged, read), "doubled": doubled(read)}
    return {what: ids for what, ids in found.items() if ids}


def wrong_bundles(orders: Sequence[Record], steps: Iterable[Json]) -> list[str]:
    """Return orders that don't name the bundle which was active at their market offset.

    Active is what the newest BundleActivated among the inputs of the logged steps says, up to the order's own step.
    """
    active: dict[str, str] = {}
    expected: dict[tuple[str, int], str | None] = {}
    for logged in steps:
        for applied in logged["step"].get("inputs", ()):
            if applied["type"] == "BundleActivated":
                active[applied["instrument"]] = applied["bundle_id"]
        step = logged["step"]
        for offset in range(step["market_from"], step["market_to"]):
            expected |= {(name, offset): bundle for name, bundle in active.items()} if logged.get("orders") else {}
    return [
        f"order {order['seq']} at {order['source']['offset']} names {order['bundle_id']}, active was {named}"
        for _, order in valid(orders)
        if order["type"] == "Order"
        and (named := expected.get((order["instrument"], order["source"]["offset"]))) != order["bundle_id"]
    ]


def void_records(log: Log) -> int:
    """Count records of `orders` and `decisions` under an epoch that is not the newest Claim's: a fenced owner's."""
    return sum(void_count(log.topic(topic, number)) for topic in ("orders", "decisions") for number in range(SHARDS))


def void_count(records: Sequence[Record]) -> int:
    """Count the void records of one partition."""
    claims = [record for record in records if json.loads(record.value or b"{}")["type"] == "Claim"]
    return len(records) - len(claims) - len(valid(records))


def claims_of(log: Log, owner: str) -> int:
    """Count how often a replica has claimed a shard."""
    return sum(claim["owner"] == owner for claim in log.of("orders", "Claim"))


def rederived(log: Log, cluster: Cluster, registry: Path) -> Replayed:
    """Derive every decision and order again from the records that were read back."""
    settings = read_settings(cluster.settings_file, environment={})
    return replay(
        log.topic, partitions=SHARDS, scope=scope_of(settings), config=settings.execution, bundles_dir=registry
    )
