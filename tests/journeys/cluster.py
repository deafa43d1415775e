"""One tickpilot cluster for a journey: its settings, its topics, and what to wait for in its log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from msgspec import Struct

from messages import TOPICS
from tests.journeys.cluster_settings import SHARDS, STRATEGY, Announced, base_settings, write_settings
from tests.journeys.plain_kafka import Json, Log, Publisher
from tests.journeys.processes import run_command


class Cluster(Struct, frozen=True, kw_only=True):
    """Topics under a prefix that no other test has. `bundles` is the home of keys and registry."""

    url: str
    prefix: str
    home: Path
    settings: dict[str, Any]

    @property
    def settings_file(self) -> Path:
        """The settings that every agent reads."""
        return self.home / "settings.yaml"

    def settings_with(self, name: str, **changes: dict[str, Any]) -> Path:
        """Write another settings file, with more or other keys in some groups."""
        merged = {key: {**self.settings.get(key, {}), **group} for key, group in changes.items()}
        return write_settings(self.home / f"{name}.yaml", {**self.settings, **merged})

    def log(self, *, while_waiting: Callable[[], object] = lambda: None) -> Log:
        """Return a reader of every topic from its beginning; it calls `while_waiting` as long as it waits."""
        partitions = {name: topic.partitions(SHARDS) for name, topic in TOPICS.items()}
        return Log(self.url, self.prefix, partitions, while_waiting=while_waiting)

    def publisher(self) -> Publisher:
        """Return a user's client."""
        return Publisher(self.url, self.prefix)


def new_cluster(url: str, home: Path, bundles: Path, **changes: Any) -> Cluster:
    """Write the settings, with some groups of keys replaced, and run `tickpilot topics create`."""
    prefix = f"journey-{uuid4().hex[:8]}-"
    cluster = Cluster(url=url, prefix=prefix, home=home, settings={**base_settings(url, prefix, bundles), **changes})
    write_settings(cluster.settings_file, cluster.settings)
    run_command("topics", "create", "--settings", str(cluster.settings_file))
    return cluster


def roll_out_by_hand(publisher: Publisher, bundle: Announced, instruments: tuple[str, ...]) -> None:
    """Write what the Orchestrator would write: trade this bundle. For a cluster whose `control` is new."""
    common = {"strategy": STRATEGY, "bundle_id": bundle.bundle_id, "sha256": bundle.sha256, "ts": 1, "who": "operator"}
    rollout = {"type": "Rollout", "uri": bundle.uri, "expects": -1, **common}
    publisher.publish("control", rollout, key=f"rollout/{STRATEGY}")
    for name in instruments:
        activate = {"type": "Activate", "instrument": name, "expects": -1, **common}
        publisher.publish("control", activate, key=f"active/{STRATEGY}/{name}")


def is_swapped(log: Log, bundle: Announced, instruments: tuple[str, ...]) -> bool:
    """Whether every instrument trades with the bundle."""
    return {m["instrument"] for m in log.of("status", "Swapped") if m["sha256"] == bundle.sha256} >= set(instruments)


def market_count(log: Log) -> int:
    """Return how many market records were read."""
    return sum(len(log.topic("market", number)) for number in range(SHARDS))


def decided_to(log: Log) -> dict[int, int]:
    """Return, for each partition, the market offset up to which `decisions` has outcomes."""
    found = dict.fromkeys(range(SHARDS), 0)
    for batch in log.of("decisions", "DecisionBatch"):
        if batch["steps"]:
            found[batch["partition"]] = max(found[batch["partition"]], batch["steps"][-1]["step"]["market_to"])
    return found


def is_all_decided(log: Log) -> bool:
    """Whether every market record that was read has its outcome on `decisions`."""
    return decided_to(log) == {number: len(log.topic("market", number)) for number in range(SHARDS)}


def last_snapshot(log: Log) -> Json | None:
    """Return the newest snapshot of the portfolio."""
    snapshots = [message for message in log.of("risk", "RiskSnapshot") if message["scope"] == "portfolio"]
    return snapshots[-1] if snapshots else None


def owned(log: Log) -> dict[str, list[int]]:
    """Return the live shards of each replica of Execution, as its last heartbeat says."""
    return {
        message["agent_id"]: message.get("partitions", [])
        for message in log.of("status", "Heartbeat")
        if message["agent"] == "execution"
    }


def is_owned(log: Log) -> bool:
    """Whether every shard is live somewhere."""
    return {shard for shards in owned(log).values() for shard in shards} == set(range(SHARDS))
