"""Fixtures of the venue's drill. Nothing imports this file."""

from collections.abc import Iterator
from typing import Any

import pytest

from messages import SystemClock
from tests.bench.measure import write_results
from tests.journeys.processes import ROOT

RESULTS = ROOT / "docs" / "results" / "venue.json"


@pytest.fixture(scope="session")
def venue_figures() -> Iterator[list[dict[str, Any]]]:
    """Results of the full drill; written when there are any."""
    found: list[dict[str, Any]] = []
    yield found
    if found:
        write_results(RESULTS, "venue", found, SystemClock().now_ns())
