"""The benchmarks of risk and the venue in a small form, so that they don't rot: they say what they measured."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.bench.risk import books, figures, gate, venue
from tests.bench.risk.sampling import SMALL, Size

Results = Callable[[Size], list[dict[str, Any]]]
TARGETS: dict[Results, list[str]] = {
    gate.results: ["<= 3", "<= 3", "<= 3"],
    figures.results: ["<= 5", "<= 50", "<= 50"],
    books.results: [">= 200000"],
    venue.results: [">= 100000"],
}


@pytest.mark.parametrize("results", TARGETS, ids=lambda results: results.__module__)
def test_each_part_measures_beside_its_baseline(results: Results) -> None:
    lines = results(SMALL)
    assert all(line["value"] > 0 and line["baseline"] > 0 and line["ratio"] > 0 for line in lines)
    assert len({line["name"] for line in lines}) == len(lines)
    assert [line["target"] for line in lines if line["target"]] == TARGETS[results]
    assert all((line["pass"] is None) == (line["target"] == "") for line in lines)
