"""The only broker goes away under all agents and comes back: nobody dies, all go on, the log holds."""

import time
from pathlib import Path

import pytest

from agents.lifecycle import local_kafka
from tests.brokers import own_broker
from tests.journeys.cluster import (
    Cluster,
    decided_to,
    is_all_decided,
    is_owned,
    is_swapped,
    new_cluster,
    roll_out_by_hand,
)
from tests.journeys.cluster_settings import CREATED, INSTRUMENTS, SHARDS, make_bundle, new_key
from tests.journeys.log_checks import has_risk_booked_all, problems, replayed
from tests.journeys.plain_kafka import Log
from tests.journeys.processes import Agents

pytestmark = [pytest.mark.kafka, pytest.mark.drill, pytest.mark.timeout(240)]  # tests/drills has the short form

START_S, PLAY_S = 60.0, 90.0
AWAY_S = 5.0
RECOVERY_S = 25.0  # 10 s are required and judged by the full drills; here anything may run beside
MAX_LINES = 100
AGENTS = ("execution", "venue", "risk", "orchestrator", "trainer")
TICKS = 3_000


def test_agents_outlive_the_broker_and_all_go_on_when_it_is_back(tmp_path: Path) -> None:
    home = tmp_path / "bundles"
    home.mkdir()
    bundle = make_bundle(home, sequence=1, enter=0.1, decide_every=2, key=new_key(home))
    with own_broker() as broker:
        cluster = new_cluster(broker.url, tmp_path, home, execution={"decisions": {"conflate": False}})
        roll_out_by_hand(cluster.publisher(), bundle, INSTRUMENTS)
        with Agents(cluster.settings_file, tmp_path) as agents, cluster.log(while_waiting=agents.check_running) as log:
            for name in AGENTS:
                agents.start(name)
            log.wait(is_owned, what="Execution up", timeout_s=START_S)
            log.wait(lambda log: is_swapped(log, bundle, INSTRUMENTS), what="the bundle trades", timeout_s=START_S)
            log.wait(lambda log: len(_beats(log)) == len(AGENTS), what="all agents up", timeout_s=START_S)
            agents.start("feed", settings=_feed(cluster))
            log.wait(lambda log: len(log.of("orders", "Order")) > 20, what="orders under way", timeout_s=PLAY_S)
            before = _lines(tmp_path)

            local_kafka.kill(broker)
            time.sleep(AWAY_S)  # the length of the outage: there is nothing to wait for
            agents.check_running()
            local_kafka.start(broker)
            back_ns, back_s, decided = time.time_ns(), time.monotonic(), decided_to(log)

            log.wait(
                lambda log: all(_beats(log).get(f"{name}-1", 0) > back_ns for name in AGENTS),
                what="a heartbeat of every agent",
                timeout_s=RECOVERY_S,
            )
            log.wait(
                lambda log: any(to > decided[number] for number, to in decided_to(log).items()),
                what="new decisions",
                timeout_s=RECOVERY_S,
            )
            print(f"all go on {time.monotonic() - back_s:.1f} s after the broker was back")  # noqa: T201
            log.wait(lambda log: len(_ticks(log)) == TICKS, what="the whole feed", timeout_s=PLAY_S)
            log.wait(is_all_decided, what="every market record decided", timeout_s=30)
            log.wait(has_risk_booked_all, what="Risk has booked every report", timeout_s=20)
            agents.check_running()
            written = {name: count - before.get(name, 0) for name, count in _lines(tmp_path).items()}
            assert all(count < MAX_LINES for count in written.values()), written
            print(f"lines written over the outage: {written}")  # noqa: T201

        with cluster.log() as log:
            log.read_to_end()
            assert problems(log) == []
            ids = [order["order_id"] for order in log.of("orders", "Order")]
            assert len(ids) == len(set(ids)) > 20
            result = replayed(log, cluster, home / "registry")
            assert result.mismatches == ()
            assert result.is_equal


def _beats(log: Log) -> dict[str, int]:
    """When each agent was heard of last."""
    return {message["agent_id"]: message["ts"] for message in log.of("status", "Heartbeat")}


def _ticks(log: Log) -> set[bytes | None]:
    """The different market records: what was sent again after a lost acknowledgement counts once."""
    return {record.value for number in range(SHARDS) for record in log.topic("market", number)}


def _lines(logs: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text(errors="replace").splitlines()) for path in logs.glob("*.log")}


def _feed(cluster: Cluster) -> Path:
    market = {"ticks": TICKS, "instruments": 2, "start_ns": CREATED}
    return cluster.settings_with("feed", feed={"source": "synthetic", "synthetic": market, "speed": 1.25})
