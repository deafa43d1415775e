"""The whole loop on a real Apache Kafka, every agent an OS process, the user a plain Kafka client."""

import base64
import json
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from tests.journeys.cluster import (
    Cluster,
    decided_to,
    is_all_decided,
    is_owned,
    is_swapped,
    market_count,
    new_cluster,
    owned,
    roll_out_by_hand,
)
from tests.journeys.cluster_settings import (
    CREATED,
    INSTRUMENTS,
    SHARDS,
    Announced,
    cut,
    make_bundle,
    new_key,
    recorded_files,
    tampered,
    unsigned,
)
from tests.journeys.log_checks import has_risk_booked_all, outcomes, problems, replayed, wrong_bundles
from tests.journeys.plain_kafka import Log, Publisher, committed_offsets
from tests.journeys.processes import AgentProcess, Agents

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

TICKS = 21_000
START_S, SWAP_S, PLAY_S = 60.0, 30.0, 90.0


class Shelf(Struct, frozen=True, kw_only=True):
    """Bundles that all journeys share."""

    home: Path
    first: Announced
    second: Announced
    tampered: Announced
    unsigned: Announced
    busy: Announced

    @property
    def registry(self) -> Path:
        return self.home / "registry"


@pytest.fixture(scope="module")
def shelf(kafka_url: str, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    home = tmp_path_factory.mktemp("bundles")
    key = new_key(home)
    return Shelf(
        home=home,
        first=make_bundle(home, sequence=1, enter=0.5, key=key),
        second=make_bundle(home, sequence=2, enter=0.3, key=key),
        tampered=tampered(home, sequence=3, key=key),
        unsigned=unsigned(home, sequence=4, key=key),
        busy=make_bundle(home, sequence=1, enter=0.1, decide_every=2, key=key),
    )


def test_a_policy_is_swapped_under_load_and_the_log_proves_every_order(
    kafka_url: str, tmp_path: Path, shelf: Shelf
) -> None:
    cluster = new_cluster(kafka_url, tmp_path, shelf.home)
    publisher = cluster.publisher()
    with Agents(cluster.settings_file, tmp_path) as agents, cluster.log(while_waiting=agents.check_running) as log:
        execution = agents.start("execution")
        others = [agents.start(agent) for agent in ("orchestrator", "venue", "risk")]
        log.wait(is_owned, what="Execution up", timeout_s=START_S)
        publisher.publish("bundles", shelf.first.announcement, key=shelf.first.bundle_id)
        log.wait(
            lambda log: is_swapped(log, shelf.first, INSTRUMENTS),
            what="the first bundle trades",
            timeout_s=START_S,
        )
        feeds, ticks = _feed(agents, cluster)
        log.wait(lambda log: market_count(log) > ticks * 0.3, what="a third of the feed", timeout_s=PLAY_S)

        for bundle in (shelf.second, shelf.tampered, shelf.unsigned):
            publisher.publish("bundles", bundle.announcement, key=bundle.bundle_id)
        bad = _publish_bad_records(publisher)
        log.wait(
            lambda log: is_swapped(log, shelf.second, INSTRUMENTS),
            what="the second bundle trades",
            timeout_s=SWAP_S,
        )
        log.wait(lambda log: len(log.of("status", "Rejected")) == 2, what="both bad bundles rejected", timeout_s=SWAP_S)
        log.wait(lambda log: market_count(log) == ticks + len(bad), what="the whole feed", timeout_s=PLAY_S)
        log.wait(is_all_decided, what="every market record decided", timeout_s=20)
        agents.check_running()
        agents.stop(*feeds, execution)
        assert _committed(cluster) == {number: len(log.topic("market", number)) for number in range(SHARDS)}
        orchestrator, venue, risk = others
        agents.stop(orchestrator, venue)
        log.wait(has_risk_booked_all, what="Risk has booked every report", timeout_s=10)
        agents.stop(risk)

    with cluster.log() as log:
        log.read_to_end()
        assert market_count(log) == ticks + len(bad) >= 20_000
        _check(log, cluster, shelf, who={"execution-1"}, bundles=(shelf.first, shelf.second))
        _check_rejections(log, shelf)
        _check_dead_letters(log, bad)


def _feed(agents: Agents, cluster: Cluster) -> tuple[list[AgentProcess], int]:
    """Start feeds over all instruments for about 20 s; return them and the number of their ticks."""
    recorded = recorded_files()
    if recorded is None:
        feed = {"source": "synthetic", "synthetic": {"ticks": TICKS, "instruments": 2}, "speed": 9.0}
        return [agents.start("feed", settings=cluster.settings_with("feed", feed=feed))], TICKS
    files, count = cut(recorded, cluster.home, rows=TICKS)
    synthetic = {"ticks": 2_000, "instruments": 2}
    btc = cluster.settings_with("feed-btc", feed={"source": "files", "files": files, "speed": 12.0})
    syn = cluster.settings_with("feed-syn", feed={"source": "synthetic", "synthetic": synthetic, "speed": 1.0})
    feeds = [
        agents.start("feed", agent_id="feed-btc", settings=btc),
        agents.start("feed", agent_id="feed-syn", settings=syn),
    ]
    return feeds, count + synthetic["ticks"]


def _publish_bad_records(publisher: Publisher) -> dict[str, bytes]:
    """Publish what no feeder should; return the bytes by a word that the reason must hold."""
    quote = {
        "type": "Quote",
        "instrument": "SYN-A",
        "ts_recv": 1,
        "bid": 99.0,
        "bid_size": 1.0,
        "ask": 99.5,
        "ask_size": 1.0,
    }
    nan = msgspec.msgpack.encode({**quote, "bid": float("nan")})
    is_msgpack = [("content-type", b"application/msgpack")]
    return {
        "truncated": publisher.publish("market", b'{"type": "Quote", "bid": ', key="SYN-A"),
        "unknown instrument": publisher.publish("market", {**quote, "instrument": "NOBODY"}, key="NOBODY"),
        "finite": publisher.publish("market", nan, key="SYN-A", headers=is_msgpack),
        "wrong-partition": publisher.publish("market", quote, key="SYN-A", partition=0),
    }


def _committed(cluster: Cluster) -> dict[int, int]:
    stored = committed_offsets(cluster.url, cluster.prefix, "execution", SHARDS)
    return {number: max(offset, 0) for number, offset in stored.items()}


def _check(log: Log, cluster: Cluster, shelf: Shelf, *, who: set[str], bundles: tuple[Announced, ...]) -> None:
    """What every journey's log must prove."""
    assert problems(log) == []
    orders, swaps = log.of("orders", "Order"), log.of("status", "Swapped")
    assert wrong_bundles(orders, swaps) == []
    assert {order["bundle_id"] for order in orders} == {bundle.bundle_id for bundle in bundles}
    for bundle in bundles:
        assert {m["agent_id"] for m in log.of("status", "Staged") if m["sha256"] == bundle.sha256} == who
        assert {m["instrument"] for m in swaps if m["sha256"] == bundle.sha256} == set(INSTRUMENTS)
    assert has_risk_booked_all(log)
    result = replayed(log, cluster, shelf.registry)
    assert result.mismatches == ()
    assert result.is_equal
    assert result.orders == len(orders) + len(log.of("orders", "Cancel"))
    fills = [report for report in log.of("reports") if report["cumulative_quantity"] > 0]
    _say(f"{market_count(log)} ticks {len(orders)} orders {len(fills)} fills {result.steps} steps {outcomes(log)}")
    assert len(orders) > 20
    assert fills


def _check_rejections(log: Log, shelf: Shelf) -> None:
    rejected = {m["sha256"]: m for m in log.of("status", "Rejected")}
    assert rejected[shelf.tampered.sha256]["code"] == "digest-mismatch"
    assert rejected[shelf.unsigned.sha256]["code"] == "unsigned"
    assert all(m["detail"] for m in rejected.values())
    assert log.of("orders", "Order")[-1]["ts_decided"] > max(m["ts"] for m in rejected.values())


def _check_dead_letters(log: Log, bad: dict[str, bytes]) -> None:
    letters = log.of("dead-letters", "DeadLetter")
    assert sorted(base64.b64decode(letter["value"]) for letter in letters) == sorted(bad.values())
    for word, value in bad.items():
        reasons = [letter["reason"] for letter in letters if base64.b64decode(letter["value"]) == value]
        assert [word in reason for reason in reasons] == [True], (word, reasons)
    for letter in letters:
        original = log.topic(letter["topic"], letter["partition"])[letter["offset"]]
        assert base64.b64decode(letter["value"]) == original.value


SMALL_FEED_TICKS = 3_500
TRADED_SHARD = 2  # that of SYN-B


def test_orders_of_a_killed_execution_that_had_logged_nothing_are_adopted_not_sent_again(
    kafka_url: str, tmp_path: Path, shelf: Shelf
) -> None:
    cluster = _small_cluster(kafka_url, tmp_path, shelf)
    never_flushing = cluster.settings_with("never-flushing", execution={"flush_interval_ms": 600_000})
    with Agents(cluster.settings_file, tmp_path) as agents, cluster.log(while_waiting=agents.check_running) as log:
        execution = agents.start("execution", settings=never_flushing)
        _start_the_rest(agents, log, shelf)
        _start_small_feed(agents, cluster, ticks=SMALL_FEED_TICKS // 2)
        log.wait(lambda log: len(log.of("orders", "Order")) > 20, what="orders under way", timeout_s=PLAY_S)
        agents.kill(execution)
        killed = time.monotonic()
        log.read_to_end()
        sent = len(log.of("orders", "Order"))
        assert sum(decided_to(log).values()) == 0
        agents.start("execution")
        log.wait(is_all_decided, what="all that came meanwhile decided", timeout_s=START_S)
        _say(f"{sent} orders adopted; caught up {time.monotonic() - killed:.1f} s after SIGKILL")
        _start_small_feed(agents, cluster, ticks=SMALL_FEED_TICKS // 2, hours_later=1)
        log.wait(lambda log: len(log.of("orders", "Order")) > sent, what="new orders", timeout_s=PLAY_S)
        _wait_for_the_end(log)
    _check_small(cluster, shelf, who={"execution-1"})


def test_replicas_hand_over_at_once_when_stopped_and_within_the_session_when_killed(
    kafka_url: str, tmp_path: Path, shelf: Shelf
) -> None:
    cluster = _small_cluster(kafka_url, tmp_path, shelf)
    with Agents(cluster.settings_file, tmp_path) as agents, cluster.log(while_waiting=agents.check_running) as log:
        replicas = _start_replicas(agents, cluster, log, shelf, "execution-1", "execution-2", "execution-3")
        for remove in (agents.stop, agents.kill):
            victim = _owner(log, TRADED_SHARD)
            remove(replicas[victim])
            gone, before = time.monotonic(), decided_to(log)
            log.wait(
                partial(_is_taken_over, before=before[TRADED_SHARD], victim=victim),
                what=f"shard {TRADED_SHARD} of {victim} taken over",
                timeout_s=START_S,
            )
            _say(f"taken over {time.monotonic() - gone:.1f} s after {remove.__name__} of {victim}")
        _wait_for_the_end(log)
    _check_small(cluster, shelf, who=set(replicas))


@pytest.mark.drill
def test_a_replica_that_was_frozen_does_no_harm_when_it_thaws(kafka_url: str, tmp_path: Path, shelf: Shelf) -> None:
    cluster = _small_cluster(kafka_url, tmp_path, shelf)
    with Agents(cluster.settings_file, tmp_path) as agents, cluster.log(while_waiting=agents.check_running) as log:
        replicas = _start_replicas(agents, cluster, log, shelf, "execution-1", "execution-2")
        victim = _owner(log, TRADED_SHARD)
        agents.freeze(replicas[victim])
        before = decided_to(log)
        log.wait(
            partial(_is_taken_over, before=before[TRADED_SHARD], victim=victim),
            what=f"shard {TRADED_SHARD} of {victim} taken over",
            timeout_s=START_S,
        )
        agents.thaw(replicas[victim])
        _wait_for_the_end(log)
    _check_small(cluster, shelf, who=set(replicas))


def _start_replicas(agents: Agents, cluster: Cluster, log: Log, shelf: Shelf, *names: str) -> dict[str, AgentProcess]:
    """Start replicas of Execution and a feed; return them once each owns a shard and orders are under way."""
    replicas = {name: agents.start("execution", agent_id=name) for name in names}
    _start_the_rest(agents, log, shelf)
    _start_small_feed(agents, cluster, ticks=SMALL_FEED_TICKS)
    log.wait(
        lambda log: set(owned(log)) == set(names) and all(owned(log).values()), what="a shard each", timeout_s=START_S
    )
    log.wait(lambda log: len(log.of("orders", "Order")) > 20, what="orders under way", timeout_s=PLAY_S)
    return replicas


def _owner(log: Log, shard: int) -> str:
    """Return the replica whose Claim on `orders` is the newest."""
    claims = [json.loads(record.value or b"") for record in log.topic("orders", shard)]
    return str([claim["owner"] for claim in claims if claim["type"] == "Claim"][-1])


def _is_taken_over(log: Log, *, before: int, victim: str) -> bool:
    return _owner(log, TRADED_SHARD) != victim and decided_to(log)[TRADED_SHARD] > before


def _say(figures: str) -> None:
    print(figures)  # noqa: T201 - seen with `pytest -s`


def _small_cluster(kafka_url: str, home: Path, shelf: Shelf) -> Cluster:
    """A cluster that trades the busy bundle without an Orchestrator, every tick decided."""
    cluster = new_cluster(kafka_url, home, shelf.home, execution={"decisions": {"conflate": False}})
    roll_out_by_hand(cluster.publisher(), shelf.busy, INSTRUMENTS)
    return cluster


def _start_the_rest(agents: Agents, log: Log, shelf: Shelf) -> None:
    """Start what else there must be, and wait until all instruments are traded."""
    for agent in ("venue", "risk"):
        agents.start(agent)
    log.wait(lambda log: is_swapped(log, shelf.busy, INSTRUMENTS), what="the bundle trades", timeout_s=START_S)


def _start_small_feed(agents: Agents, cluster: Cluster, *, ticks: int, hours_later: int = 0) -> None:
    """Play a synthetic market, about 190 ticks a second."""
    market = {"ticks": ticks, "instruments": 2, "start_ns": CREATED + hours_later * 3_600_000_000_000}
    feed = {"source": "synthetic", "synthetic": market, "speed": 1.25}
    name = f"feed-{hours_later + 1}"
    agents.start("feed", agent_id=name, settings=cluster.settings_with(name, feed=feed))


def _wait_for_the_end(log: Log) -> None:
    log.wait(lambda log: market_count(log) == SMALL_FEED_TICKS, what="the whole feed", timeout_s=PLAY_S)
    log.wait(is_all_decided, what="every market record decided", timeout_s=30)
    log.wait(has_risk_booked_all, what="Risk has booked every report", timeout_s=10)


def _check_small(cluster: Cluster, shelf: Shelf, *, who: set[str]) -> None:
    with cluster.log() as log:
        log.read_to_end()
        assert market_count(log) == SMALL_FEED_TICKS
        _check(log, cluster, shelf, who=who, bundles=(shelf.busy,))
