"""A flood of garbage by a plain client on a real Apache Kafka: no process stops, an Alert says why, trading resumes."""

import base64
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.journeys.cluster import is_all_decided, is_swapped, market_count, new_cluster, roll_out_by_hand
from tests.journeys.cluster_settings import INSTRUMENTS, make_bundle, new_key
from tests.journeys.plain_kafka import Log, servers_of
from tests.journeys.processes import Agents

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

FLOOD, SHARD = 3_000, 2  # that of SYN-B
WAIT_S = 60.0


def test_a_flood_of_garbage_is_parked_whole_and_ends_in_nothing_worse_than_careful_trading(
    kafka_url: str, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path, sequence=1, enter=0.1, decide_every=2, key=new_key(tmp_path))
    cluster = new_cluster(
        kafka_url,
        tmp_path,
        tmp_path,
        execution={"decisions": {"conflate": False, "dead_letters": {"hold_ms": 1_000, "min_records": 20}}},
    )
    roll_out_by_hand(cluster.publisher(), bundle, INSTRUMENTS)
    garbage = Producer({"bootstrap.servers": servers_of(kafka_url), "log_level": 2})
    with Agents(cluster.settings_file, tmp_path) as agents, cluster.log(while_waiting=agents.check_running) as log:
        for agent in ("execution", "venue", "risk"):
            agents.start(agent)
        log.wait(lambda log: is_swapped(log, bundle, INSTRUMENTS), what="the bundle trades", timeout_s=WAIT_S)
        began = time.monotonic()
        for number in range(FLOOD):
            garbage.produce(f"{cluster.prefix}market", b"{garbage %d" % number, key="SYN-B", partition=SHARD)
        assert garbage.flush(WAIT_S) == 0
        log.wait(lambda log: codes(log) == ["BAD_INPUT"], what="the Alert", timeout_s=WAIT_S)
        log.wait(lambda log: len(letters(log)) == FLOOD, what="every dead letter", timeout_s=WAIT_S)
        print(f"{FLOOD} dead letters {time.monotonic() - began:.1f} s after the flood began")  # noqa: T201 - pytest -s
        market = {"ticks": 1_500, "instruments": 2}
        feed = {"source": "synthetic", "synthetic": market, "speed": 1.25}
        agents.start("feed", settings=cluster.settings_with("feed", feed=feed))
        log.wait(lambda log: codes(log) == ["BAD_INPUT", "INPUT_GOOD_AGAIN"], what="its end", timeout_s=WAIT_S)
        log.wait(lambda log: market_count(log) == FLOOD + market["ticks"], what="the feed", timeout_s=WAIT_S)
        log.wait(is_all_decided, what="every market record decided", timeout_s=WAIT_S)
        agents.check_running()
        assert [order for order in log.of("orders", "Order") if order["instrument"] == "SYN-B"]
        assert sorted(letters(log)) == sorted(b"{garbage %d" % number for number in range(FLOOD))


def codes(log: Log) -> list[str]:
    return [alert["code"] for alert in log.of("risk", "Alert") if "INPUT" in alert["code"]]


def letters(log: Log) -> list[bytes]:
    return [base64.b64decode(letter["value"]) for letter in log.of("dead-letters", "DeadLetter")]
