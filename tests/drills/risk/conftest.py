"""Fixtures of the drills of risk. Nothing imports this file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from messages import SystemClock
from tests.bench.measure import write_results
from tests.drills.risk.fleet import Fleet
from tests.drills.risk.form import FULL, SHORT, Findings, Form
from tests.drills.risk.world import new_bundles
from tests.journeys.cluster_settings import new_key
from tests.journeys.processes import ROOT

RESULTS = ROOT / "docs" / "results" / "risk.json"


@pytest.fixture(
    params=[SHORT, pytest.param(FULL, marks=pytest.mark.drill)], ids=lambda form: form.name, scope="session"
)
def form(request: pytest.FixtureRequest) -> Form:
    """How long the drill is; the full form is what `make drills` runs."""
    chosen: Form = request.param
    return chosen


@pytest.fixture(scope="session")
def fleet(kafka_url: str, form: Form, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One fleet for all drills of a form."""
    bundles = tmp_path_factory.mktemp("bundles")
    announced = new_bundles(bundles, new_key(bundles))
    with ExitStack() as stack:
        yield stack.enter_context(Fleet(kafka_url, tmp_path_factory.mktemp(f"fleet-{form.name}"), bundles, announced))


@pytest.fixture(scope="session")
def risk_figures() -> Iterator[list[dict[str, Any]]]:
    """Results of full drills; written when there are any."""
    found: list[dict[str, Any]] = []
    yield found
    if found:
        write_results(RESULTS, "risk", found, SystemClock().now_ns())


@pytest.fixture
def findings(form: Form, risk_figures: list[dict[str, Any]]) -> Iterator[Callable[[str], Findings]]:
    """Return what a drill of that name finds."""
    made: list[Findings] = []

    def new(name: str) -> Findings:
        made.append(Findings(name, form))
        return made[-1]

    yield new
    for one in made:
        for line in one.results:
            print(f"{line['name']}: {line['value']:g} {line['unit']}")  # noqa: T201 - seen with `pytest -s`
        if form.name == FULL.name:
            risk_figures.extend(one.results)
