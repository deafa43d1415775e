"""What an operator does from the command line on a real Kafka: a shadow beside the live policy, and a rollback."""

import json
from pathlib import Path

import pytest

from tests.journeys.cluster import (
    Cluster,
    is_all_decided,
    is_owned,
    is_swapped,
    market_count,
    new_cluster,
    roll_out_by_hand,
)
from tests.journeys.cluster_settings import CREATED, INSTRUMENTS, STRATEGY, Announced, make_bundle, new_key
from tests.journeys.log_checks import problems, replayed, wrong_bundles
from tests.journeys.plain_kafka import Json, Log
from tests.journeys.processes import Agents, run_command

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

TICKS = 1_500
START_S, SWAP_S, PLAY_S = 60.0, 30.0, 90.0
WHO = ("--who", "anna")


def test_a_shadow_decides_beside_the_live_policy_and_a_rollback_brings_the_one_before_back(
    kafka_url: str, tmp_path: Path
) -> None:
    home = tmp_path / "bundles"
    home.mkdir()
    key = new_key(home)
    first = make_bundle(home, sequence=1, enter=0.1, decide_every=2, key=key)
    second = make_bundle(home, sequence=2, enter=0.3, decide_every=2, key=key)
    cluster = new_cluster(kafka_url, tmp_path, home, execution={"decisions": {"conflate": False}})
    publisher, instrument = cluster.publisher(), INSTRUMENTS[-1]
    roll_out_by_hand(publisher, first, INSTRUMENTS)
    with Agents(cluster.settings_file, tmp_path) as agents, cluster.log(while_waiting=agents.check_running) as log:
        for agent in ("execution", "orchestrator", "venue", "risk"):
            agents.start(agent)
        log.wait(is_owned, what="Execution up", timeout_s=START_S)
        log.wait(lambda log: is_swapped(log, first, INSTRUMENTS), what="the first bundle trades", timeout_s=START_S)
        agents.start("feed", settings=_feed(cluster))

        _operate(cluster, "shadow", STRATEGY, instrument, second.uri)
        log.wait(lambda log: len(_shadowed(log, second)) > 20, what="the shadow decides", timeout_s=SWAP_S)
        log.wait(lambda log: len(log.of("orders", "Order")) > 5, what="orders beside it", timeout_s=PLAY_S)
        assert {order["bundle_id"] for order in log.of("orders", "Order")} == {first.bundle_id}
        _operate(cluster, "shadow", STRATEGY, instrument, "--off")

        publisher.publish("bundles", second.announcement, key=second.bundle_id)
        log.wait(lambda log: _is_last(log, second), what="the second bundle trades", timeout_s=SWAP_S)
        rolled_back = _operate(cluster, "rollout", "rollback", STRATEGY)
        assert set(rolled_back.values()) == {first.bundle_id}
        log.wait(lambda log: _is_last(log, first), what="the first bundle trades again", timeout_s=SWAP_S)
        log.wait(lambda log: market_count(log) == TICKS, what="the whole feed", timeout_s=PLAY_S)
        log.wait(is_all_decided, what="every market record decided", timeout_s=30)

    with cluster.log() as log:
        log.read_to_end()
        assert problems(log) == []
        assert wrong_bundles(log.of("orders", "Order"), log.of("status", "Swapped")) == []
        assert _is_last(log, first)
        result = replayed(log, cluster, home / "registry")
        assert result.mismatches == ()
        assert result.is_equal


def _operate(cluster: Cluster, *command: str) -> Json:
    printed = run_command(*command, *WHO, "--json", "--settings", str(cluster.settings_file))
    answer: Json = json.loads(printed)
    return answer


def _shadowed(log: Log, bundle: Announced) -> list[Json]:
    """The decisions with an answer of the bundle as a shadow."""
    return [
        decision
        for batch in log.of("decisions", "DecisionBatch")
        for step in batch["steps"]
        for decision in step.get("decisions", ())
        if decision.get("shadow", {}).get("bundle_id") == bundle.bundle_id
    ]


def _is_last(log: Log, bundle: Announced) -> bool:
    """Whether the bundle is what each instrument was swapped to last."""
    last = {swap["instrument"]: swap["sha256"] for swap in log.of("status", "Swapped")}
    return set(last) == set(INSTRUMENTS) and set(last.values()) == {bundle.sha256}


def _feed(cluster: Cluster) -> Path:
    market = {"ticks": TICKS, "instruments": 2, "start_ns": CREATED}
    return cluster.settings_with("feed", feed={"source": "synthetic", "synthetic": market, "speed": 0.8})
