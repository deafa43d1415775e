import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agents.feed.errors import BadCell, BadTable, MissingExtra
from agents.feed.tabular import TabularSource
from messages import Bar, Quote, Trade

pa = pytest.importorskip("pyarrow")


def write(tmp_path: Path, **columns: Any) -> str:
    from pyarrow import parquet

    path = str(tmp_path / "data.parquet")
    parquet.write_table(pa.table(columns), path)
    return path


def test_quotes_with_typed_columns_and_nulls(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        symbol=["A", "B"],
        ts_local_ns=pa.array([1723161254087891268, 1723161254087891269], pa.int64()),
        ts_exchange_ms=pa.array([None, 1723161255342], pa.int64()),
        bid=[1.5, 2.5],
        bid_size=[1, 2],
        ask=[1.75, 3.5],
        ask_size=[1, 2],
    )
    first, second = TabularSource([path])
    assert first == Quote(instrument="A", ts_recv=1723161254087891268, bid=1.5, bid_size=1, ask=1.75, ask_size=1)
    assert isinstance(second, Quote)
    assert (second.instrument, second.ts_event) == ("B", 1723161255342000000)


def test_trades_with_booleans_and_integer_ids(tmp_path: Path) -> None:
    path = write(tmp_path, timestamp=[1610064000278], trade_id=[77], price=[2.0], quantity=[1.0], buyer_maker=[True])
    [trade] = TabularSource([path], instrument="X")
    assert trade == Trade(
        instrument="X", ts_recv=1610064000278000000, price=2.0, size=1.0, aggressor="sell", trade_id="77"
    )


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_timestamps_of_any_unit_and_zone(tmp_path: Path, unit: str, zone: str | None) -> None:
    times = pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp(unit, zone))
    path = write(tmp_path, time=times, open=[1.0], high=[1.0], low=[1.0], close=[1.0], volume=[0.0])
    [bar] = TabularSource([path], instrument="X")
    assert isinstance(bar, Bar)
    assert bar.ts_recv == 1704067200 * 10**9


def test_a_null_in_a_required_column_is_refused_with_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, ts_local_ns=[1, 2], price=[1.0, None], size=[1.0, 1.0])
    with pytest.raises(BadCell, match="row 2, column price"):
        TabularSource([path], instrument="X")


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"not at all")
    with pytest.raises(BadTable, match="Parquet"):
        TabularSource([str(path)])


def test_without_pyarrow_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, ts_local_ns=[1], price=[1.0], size=[1.0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"tickpilot\[data\]"):
        TabularSource([path], instrument="X")
