"""docs/venue-adapters.md says what the cases try."""

import re
from pathlib import Path

from agents.venue.conformance import CASES
from agents.venue.intake import GAP

TEXT = (Path(__file__).resolve().parents[4] / "docs" / "venue-adapters.md").read_text()


def test_each_case_has_its_row_with_its_number_and_title() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|.*\| `(\w+)` \|$", TEXT, re.MULTILINE)
    assert rows == [(str(case.number), case.title, case.name) for case in CASES]


def test_the_test_that_it_shows_is_python_over_what_is_exported() -> None:
    from agents.venue import conformance

    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    compile(block, "docs/venue-adapters.md", "exec")
    (names,) = re.findall(r"from agents\.venue\.conformance import (.*)", block)
    assert set(names.split(", ")) <= set(conformance.__all__)


def test_it_names_the_alert() -> None:
    assert f"`{GAP}`" in TEXT
