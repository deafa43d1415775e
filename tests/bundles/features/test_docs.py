"""docs/features.md says what the code does: its tables are compared with the library, its example is run."""

import re
from pathlib import Path

import numpy as np
import pytest

from bundles.features import DEFAULT_FEATURES, RING_TICKS
from bundles.features.library import KINDS, PARAMETERS
from tests.bundles.features.streams import walk

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "features.md").read_text()


def rows_below(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\|.*\|$", section, re.MULTILINE)[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def test_the_library_is_the_codes() -> None:
    assert rows_below("The library") == [
        [
            f"`{name}`",
            ", ".join(f"`{parameter}`" for parameter in kind.params),
            f"{kind.lowest} to {kind.highest}",
            str(kind.least),
            kind.meaning,
        ]
        for name, kind in KINDS.items()
    ]


def test_the_parameters_are_the_codes() -> None:
    wanted = [[f"`{name}`", f"1 to {one.maximum:,}", one.meaning] for name, one in PARAMETERS.items()]
    assert rows_below("Parameters") == wanted


def test_the_ring_and_the_default_features_are_as_said() -> None:
    assert f"last {RING_TICKS} ticks" in TEXT
    assert DEFAULT_FEATURES.size == 11
    paragraph = TEXT.split("there are eleven:\n")[1].split("Others are")[0].replace("\n", " ")
    said = [
        name if not events else f"{name}_{number}"
        for name, events in re.findall(r"`(\w+)`(?: over ([\d, and]+) events)?", paragraph)
        for number in (re.findall(r"\d+", events) or [""])
    ]
    assert said == list(DEFAULT_FEATURES.names)


def test_the_example_makes_observations_of_a_parquet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    quotes = walk(400, seed=2, trades=0.0, bars=0.0, oddity=0.0)
    columns = ("instrument", "ts_recv", "bid", "bid_size", "ask", "ask_size")
    table = arrow.table({name: [getattr(each, name) for each in quotes] for name in columns})
    table = table.set_column(0, "instrument", arrow.array(["BTCUSDT"] * len(quotes)))
    parquet.write_table(table, tmp_path / "ticks.parquet")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(from agents\.feed.*?)```", TEXT, re.DOTALL)
    found: dict[str, object] = {}
    exec(code, found)
    ready, observations, times = (found[name] for name in ("ready", "observations", "times"))
    assert isinstance(ready, np.ndarray)
    assert isinstance(observations, np.ndarray)
    assert isinstance(times, np.ndarray)
    assert observations.shape == (400, 11)
    assert ready.sum() == len(times) == 400 - (DEFAULT_FEATURES.min_ticks - 1)


def test_the_function_of_the_page_is_the_examples() -> None:
    (code,) = re.findall(r"```python\n(from bundles\.features import ASK_SIZE.*?)```", TEXT, re.DOTALL)
    function = code[code.index("def ") :].rstrip().replace("(rows, ", "(rows: Any, ")
    assert function in (ROOT / "examples" / "own_feature.py").read_text()
