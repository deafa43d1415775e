"""Fixtures of the exactness drills. Nothing imports this file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agents.lifecycle.local_cluster import COPIES
from agents.lifecycle.local_kafka import LocalBroker
from messages import SystemClock
from tests.bench.measure import write_results
from tests.brokers import own_broker
from tests.drills.exactness.drill import FULL, SHORT, Drill, Form, NewDrill
from tests.drills.exactness.fleet import Fleet
from tests.drills.exactness.world import BROKER_SETTINGS, SHORT_SESSIONS, new_bundle
from tests.drills.load import Rhythm
from tests.journeys.cluster_settings import Announced, new_key
from tests.journeys.processes import ROOT

RESULTS = ROOT / "docs" / "results" / "exactness.json"


@pytest.fixture(scope="module")  # no longer: later tests need the machine
def broker(java: None) -> Iterator[LocalBroker]:
    """A broker that lets a group forget a silent member within two seconds."""
    with own_broker(BROKER_SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def shelf(bundles: Path) -> Callable[[int], Announced]:
    """Return the bundle of a sequence number, made when it is first asked for."""
    key, made = new_key(bundles), dict[int, Announced]()

    def bundle(sequence: int) -> Announced:
        if sequence not in made:
            made[sequence] = new_bundle(bundles, key, sequence=sequence)
        return made[sequence]

    return bundle


@pytest.fixture(scope="module")
def bundle(shelf: Callable[[int], Announced]) -> Announced:
    """What trades from the beginning."""
    return shelf(1)


@pytest.fixture(params=[SHORT, pytest.param(FULL, marks=pytest.mark.drill)], ids=lambda form: form.name)
def form(request: pytest.FixtureRequest) -> Form:
    """How long the drill is; the full form is what `make drills` runs."""
    chosen: Form = request.param
    return chosen


@pytest.fixture(scope="module")
def fleets(
    request: pytest.FixtureRequest, bundles: Path, bundle: Announced, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Form, str | None], Fleet]]:
    """Return a fleet: short drills share one until one has spoilt it, a full drill has its own."""
    stack, current = ExitStack(), list[Fleet]()

    def fleet(form: Form, brokers: str | None) -> Fleet:
        if not current or current[-1].is_spoilt or form is FULL:
            stack.close()
            home = tmp_path_factory.mktemp("fleet")
            if brokers is None:
                one: LocalBroker = request.getfixturevalue("broker")
                new = Fleet(one.url, home, bundles, bundle, kafka=SHORT_SESSIONS)
            else:
                new = Fleet(brokers, home, bundles, bundle, replication=COPIES)
            current.append(stack.enter_context(new))
        return current[-1]

    with stack:
        yield fleet


@pytest.fixture(scope="session")
def exactness_figures() -> Iterator[list[dict[str, Any]]]:
    """Results of full drills; written when there are any."""
    found: list[dict[str, Any]] = []
    yield found
    if found:
        write_results(RESULTS, "exactness", found, SystemClock().now_ns())


@pytest.fixture
def new_drill(
    fleets: Callable[[Form, str | None], Fleet], form: Form, exactness_figures: list[dict[str, Any]]
) -> Iterator[NewDrill]:
    """Return a drill by its name, over a fleet that works."""
    made: list[Drill] = []

    def new(name: str, *, rhythm: Rhythm | None = None, brokers: str | None = None) -> Drill:
        made.append(Drill(fleets(form, brokers), name, form, rhythm or form.rhythm))
        return made[-1]

    yield new
    for drill in made:
        for line in drill.results:
            print(f"{line['name']}: {line['value']:g} {line['unit']}")  # noqa: T201 - seen with `pytest -s`
        if form is FULL:
            exactness_figures.extend(drill.results)
