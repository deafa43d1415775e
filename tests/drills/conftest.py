"""Fixtures of the drills. Nothing imports this file."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agents.lifecycle import local_cluster, local_kafka
from agents.lifecycle.local_kafka import LocalBroker, LocalKafkaUnavailable
from messages import SystemClock
from tests.bench.measure import write_results
from tests.brokers import own_cluster
from tests.drills.drill import FULL, SHORT, Drill, Form, NewDrill
from tests.drills.fleet import Fleet
from tests.journeys.cluster_settings import Announced, make_bundle, new_key
from tests.journeys.processes import ROOT

RESULTS = ROOT / "docs" / "results" / "drills.json"


@pytest.fixture(scope="session")
def java() -> None:
    """What local brokers need. Without it the drills are skipped with the reason; in CI they fail."""
    try:
        local_kafka.check_tools()
    except LocalKafkaUnavailable as error:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"CI must have a Kafka: {error}")
        pytest.skip(f"{error}")


@pytest.fixture(scope="module")  # no longer: later tests need the machine
def brokers(java: None) -> Iterator[tuple[LocalBroker, ...]]:
    """Three brokers for all drills."""
    with own_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of keys and registry."""
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def bundle(bundles: Path) -> Announced:
    """A policy that trades often."""
    return make_bundle(bundles, sequence=1, enter=0.3, decide_every=3, key=new_key(bundles))


@pytest.fixture(scope="module")
def fleets(
    brokers: tuple[LocalBroker, ...], bundles: Path, bundle: Announced, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Fleet]]:
    """Return the fleet that is up, or a new one when a drill has spoilt it."""
    stack, current = ExitStack(), list[Fleet]()

    def fleet() -> Fleet:
        local_cluster.start_all(brokers)
        if not current or current[-1].is_spoilt:
            stack.close()
            new = Fleet(brokers, tmp_path_factory.mktemp("fleet"), bundles, bundle)
            asyncio.run(new.create_bus_topics())
            current.append(stack.enter_context(new))
        current[-1].wait_in_sync()
        return current[-1]

    with stack:
        yield fleet


@pytest.fixture(params=[SHORT, pytest.param(FULL, marks=pytest.mark.drill)], ids=lambda form: form.name)
def form(request: pytest.FixtureRequest) -> Form:
    """How long the drill is; the full form is what `make drills` runs."""
    chosen: Form = request.param
    return chosen


@pytest.fixture(scope="session")
def figures() -> Iterator[list[dict[str, Any]]]:
    """Results of full drills; written when there are any."""
    found: list[dict[str, Any]] = []
    yield found
    if found:
        write_results(RESULTS, "drills", found, SystemClock().now_ns())


@pytest.fixture
def new_drill(fleets: Callable[[], Fleet], form: Form, figures: list[dict[str, Any]]) -> Iterator[NewDrill]:
    """Return a drill by its name, over a fleet that works; `starts_processes` if it does."""
    made: list[Drill] = []

    def new(name: str, *, starts_processes: bool = False) -> Drill:
        rate_hz = form.starting_rate_hz if starts_processes else form.rate_hz
        made.append(Drill(fleets(), name, form, rate_hz=rate_hz))
        return made[-1]

    yield new
    for drill in made:
        for line in drill.results:
            print(f"{line['name']}: {line['value']:g} {line['unit']}")  # noqa: T201 - seen with `pytest -s`
        if form is FULL:
            figures.extend(drill.results)
