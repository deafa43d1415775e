"""A venue is killed at random moments under load: no fill is lost, none comes twice, every order ends once."""

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.risk.instruments import Instrument, instruments_by_name
from agents.venue import VenueConfig
from messages import TOPICS
from tests.bench.measure import percentile, result
from tests.drills.venue.checks import derived, on_topic, open_orders, problems
from tests.drills.venue.customer import Customer
from tests.drills.venue.exchange import running_market
from tests.journeys.cluster import Cluster, new_cluster
from tests.journeys.cluster_settings import INSTRUMENTS, SHARDS
from tests.journeys.plain_kafka import Log
from tests.journeys.processes import AgentProcess, Agents

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

SHORT, FULL = 3, 30
LONGEST_PAUSE_S = 1.0
HASTY = 0.25  # so often the next kill comes at any moment of a start
SLOW, FROZEN_S = 0.5, 0.5  # so often it stands still before, for so long, and lags then
PATIENCE_S = 60.0
TABLE = instruments_by_name(
    Instrument(instrument=name, price_step=1.0, quantity_step=1.0, taker_fee_bps=2.0, maker_fee_bps=-0.5)
    for name in INSTRUMENTS
)
# A cancel has this long to come to the venue; a later one may be judged after a fill that it would have stopped.
VENUE = VenueConfig(latency_ns=100_000_000)
READ = ("market", "orders", "reports", "dead-letters")
Figures = list[dict[str, Any]]


@pytest.fixture(params=[SHORT, pytest.param(FULL, marks=pytest.mark.drill)], ids=["short", "full"])
def kills(request: pytest.FixtureRequest) -> int:
    """How often the venue is killed."""
    number: int = request.param
    return number


@pytest.fixture
def siege(kafka_url: str, tmp_path: Path, kills: int) -> Iterator["Siege"]:
    """A cluster, its topics read by a plain client, and somebody who orders."""
    instruments = [{name: getattr(one, name) for name in one.__struct_fields__} for one in TABLE.values()]
    cluster = new_cluster(
        kafka_url, tmp_path, tmp_path, instruments=instruments, venue={"latency_ns": VENUE.latency_ns}
    )
    with (
        Agents(cluster.settings_file, tmp_path) as agents,
        Log(kafka_url, cluster.prefix, {name: TOPICS[name].partitions(SHARDS) for name in READ}) as log,
    ):
        yield Siege(cluster, agents, log, kills)


class Siege:
    """Kills a venue again and again while orders come, then lets every order end. `wrong` must be empty."""

    def __init__(self, cluster: Cluster, agents: Agents, log: Log, kills: int) -> None:
        self.cluster, self.agents, self.log, self.kills = cluster, agents, log, kills
        self.wrong: list[str] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self._answered_after_s: list[float] = []

    def run(self, start: Callable[[], AgentProcess]) -> None:
        log, chance, venue = self.log, random.Random(5), start()
        customer = Customer(self.cluster.url, self.cluster.prefix, INSTRUMENTS, seed=5)
        self.orders = customer.orders
        log.wait(lambda log: log.of("reports"), what="a first report", timeout_s=PATIENCE_S)
        for _ in range(self.kills):
            self._read_for(chance.uniform(0.0, LONGEST_PAUSE_S))
            if chance.random() < SLOW:
                self.agents.freeze(venue)
                self._read_for(FROZEN_S)
                self.agents.thaw(venue)
                self._read_for(chance.uniform(0.0, FROZEN_S))
            self.agents.kill(venue)
            log.read_to_end()
            before, began_s, venue = len(log.of("reports")), time.monotonic(), start()
            if chance.random() >= HASTY:
                log.wait(_has_more_than(before), what="an answer", timeout_s=PATIENCE_S)
                self._answered_after_s.append(time.monotonic() - began_s)
        self.wrong += customer.stop()

        def all_ended(log: Log) -> bool:
            customer.quote_once()
            return not open_orders(customer.orders, log.of("reports"))

        log.wait(all_ended, what="a last report of each order", timeout_s=PATIENCE_S)
        self.agents.stop(venue)
        log.read_to_end()
        records = [record for number in range(SHARDS) for record in log.topic("reports", number)]
        self.wrong += problems(customer.orders, records)
        self.wrong += [f"dead letter: {letter}" for letter in log.of("dead-letters")]

    def figures(self, name: str, *more: dict[str, Any]) -> Figures:
        """Print and return what was measured."""
        reports = self.log.of("reports")
        refused = sum(report["status"] == "rejected" for report in reports)
        found = [
            result(f"{name}/kills", self.kills, ""),
            result(f"{name}/orders", len(self.orders), "orders"),
            result(f"{name}/orders refused", refused, "orders"),
            result(f"{name}/fills", sum("last_quantity" in report for report in reports), "reports"),
            result(f"{name}/problems", len(self.wrong), "", target="<= 0", passed=not self.wrong),
            *more,
            result(f"{name}/start to the next answer, p50", percentile(self._answered_after_s, 50), "s"),
            result(f"{name}/start to the next answer, slowest", max(self._answered_after_s), "s"),
        ]
        for line in found:
            print(f"{line['name']}: {line['value']:g} {line['unit']}")  # noqa: T201 - seen with `pytest -s`
        return found

    def _read_for(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self.log.read(min(left_s, 0.05))


def test_the_paper_venue_is_killed_and_its_reports_can_be_derived_again(siege: Siege, venue_figures: Figures) -> None:
    siege.run(lambda: siege.agents.start("venue"))
    differ: list[str] = []
    for number in range(SHARDS):
        orders, market, reports = (siege.log.topic(name, number) for name in ("orders", "market", "reports"))
        expected, found = derived(orders, market, TABLE, VENUE, number), on_topic(reports)
        names = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
        differ += [f"{name}: {expected.get(name)} is on the topic as {found.get(name)}" for name in names]
    otherwise = result("paper/orders derived otherwise", len(differ), "orders", target="<= 0", passed=not differ)
    figures = siege.figures("paper", otherwise)
    assert not siege.wrong, "\n".join(siege.wrong[:20])
    assert not differ, "\n".join(differ[:5])
    if siege.kills == FULL:
        venue_figures.extend(figures)


def test_an_adapter_is_killed_and_submits_nothing_twice(siege: Siege, venue_figures: Figures, tmp_path: Path) -> None:
    with running_market(INSTRUMENTS) as market:
        command = [sys.executable, "examples/venue_adapter.py", "--venue", f"127.0.0.1:{market.port}"]
        command += ["--settings", str(siege.cluster.settings_file)]
        siege.run(lambda: siege.agents.add(AgentProcess("adapter-1", command, tmp_path / "adapter-1.log")))
        twice = [order_id for order_id, times in market.submissions.items() if times > 1]
    again = result("adapter/submitted twice", len(twice), "orders", target="<= 0", passed=not twice)
    figures = siege.figures("adapter", again)
    assert not siege.wrong, "\n".join(siege.wrong[:20])
    assert not twice
    if siege.kills == FULL:
        venue_figures.extend(figures)


def _has_more_than(reports: int) -> Callable[[Log], bool]:
    """Return whether more reports than that were read."""
    return lambda log: len(log.of("reports")) > reports
