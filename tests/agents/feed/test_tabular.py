import gzip
import os
from itertools import pairwise
from pathlib import Path

import pytest

from agents.feed.columns import ColumnMapping
from agents.feed.errors import BadCell, BadTable
from agents.feed.tabular import TabularSource
from messages import Bar, Quote, Trade

QUOTES = "instrument,ts_local_ns,bid,bid_size,ask,ask_size\n"
TRADES = "timestamp,price,quantity,buyer_maker\n"


def shared(name: str) -> str:
    folder = Path(os.environ.get("TICKPILOT_DATA", Path(__file__).parents[3] / "../shared/data"))
    if not (folder / name).is_file():
        pytest.skip(f"{name} is not in {folder} (TICKPILOT_DATA)")
    return str(folder / name)


def write(tmp_path: Path, text: str, name: str = "data.csv") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_real_quotes_with_local_nanoseconds() -> None:
    source = TabularSource([shared("binance_spot_btcusdt_20240808_09_quotes.csv.gz")])
    messages = list(source)
    assert messages[0] == Quote(
        instrument="BTCUSDT.BINANCE",
        ts_recv=1723161254087891268,
        bid=61837.63,
        bid_size=3.78826,
        ask=61837.64,
        ask_size=1.54698,
        seq=50093239212,
    )
    assert len(messages) == source.count == 73_174


def test_real_trades_with_both_clocks_use_the_local_one() -> None:
    source = TabularSource([shared("binance_spot_btcusdt_20240808_09_trades.csv.gz")])
    assert next(iter(source)) == Trade(
        instrument="BTCUSDT.BINANCE",
        ts_recv=1723161254087896568,
        ts_event=1723161255342000000,
        price=61837.63,
        size=0.02,
        aggressor="sell",
        trade_id="3735683259",
    )


def test_real_quotes_and_trades_merge_in_order_of_time() -> None:
    names = ("binance_spot_btcusdt_20240808_09_quotes.csv.gz", "binance_spot_btcusdt_20240808_09_trades.csv.gz")
    source = TabularSource([shared(name) for name in names])
    messages = list(source)
    assert len(messages) == source.count == 73_174 + 19_904
    assert all(a.ts_recv <= b.ts_recv for a, b in pairwise(messages))
    assert [facts.disorder for facts in source.files] == [0, 0]
    assert list(source) == messages


def test_a_real_file_with_a_timestamp_in_milliseconds_and_another_order_of_columns() -> None:
    source = TabularSource([shared("nautilus_binance_btcusdt_20210108_quotes.csv")])
    assert next(iter(source)) == Quote(
        instrument="BTC/USDT",
        ts_recv=1610064001076000000,
        bid=39432.99,
        bid_size=0.0031,
        ask=39433.62,
        ask_size=0.066851,
    )


def test_a_real_file_without_an_instrument_column_needs_its_name() -> None:
    path = shared("nautilus_binance_btcusdt_20210108_trades.csv")
    with pytest.raises(BadTable, match="--instrument"):
        TabularSource([path])
    source = TabularSource([path], instrument="BTC/USDT")
    first = next(iter(source))
    assert isinstance(first, Trade)
    assert (first.instrument, first.aggressor, first.ts_recv) == ("BTC/USDT", "sell", 1610064000278000000)
    assert source.files[0].ties == 630


def test_real_bars_have_iso_times_that_are_their_close() -> None:
    source = TabularSource([shared("nautilus_btc-perp_1m_20211231-20220201.csv.gz")], instrument="BTC-PERP")
    assert next(iter(source)) == Bar(
        instrument="BTC-PERP",
        ts_recv=1640991660000000000,  # 2021-12-31 23:01
        open=46319.0,
        high=46385.0,
        low=46319.0,
        close=46377.0,
        volume=2300413.7295,
    )
    volume = [0.0] * 60
    for bar in source:
        assert isinstance(bar, Bar)
        volume[bar.ts_recv // (60 * 10**9) % 60] += bar.volume
    busiest = max(range(60), key=volume.__getitem__)
    assert busiest == 1  # the first minute of the hour, stamped with its end


def test_disorder_and_ties_are_sorted_stably_and_counted(tmp_path: Path) -> None:
    rows = ["30,1,1", "10,2,1", "20,3,1", "20,4,1", "10,5,1"]
    path = write(tmp_path, "ts_recv_ns,price,size\n" + "\n".join(rows))
    source = TabularSource([path], instrument="X")
    assert [message.price for message in source if isinstance(message, Trade)] == [2, 5, 3, 4, 1]
    [facts] = source.files
    assert (facts.rows, facts.disorder, facts.ties) == (5, 4, 1)


def test_at_equal_times_files_keep_the_order_given(tmp_path: Path) -> None:
    quotes = write(tmp_path, "ts_recv_ns,bid,bid_size,ask,ask_size\n5,1,1,2,1\n7,1,1,2,1\n", "q.csv")
    trades = write(tmp_path, "ts_recv_ns,price,size\n5,1,1\n6,1,1\n", "t.csv")
    kinds = [type(message) for message in TabularSource([trades, quotes], instrument="X")]
    assert kinds == [Trade, Quote, Trade, Quote]


def test_without_a_recorders_time_the_exchanges_is_the_basis(tmp_path: Path) -> None:
    path = write(tmp_path, "ts_exchange_ms,price,size\n1700000000123,1,1\n")
    [trade] = TabularSource([path], instrument="X")
    assert isinstance(trade, Trade)
    assert trade.ts_recv == trade.ts_event == 1700000000123 * 10**6


@pytest.mark.parametrize(
    ("cell", "ns"),
    [
        ("1700000000", 1700000000 * 10**9),
        ("1700000000123", 1700000000123 * 10**6),
        ("1700000000123456", 1700000000123456 * 10**3),
        ("1700000000123456789", 1700000000123456789),
        ("1700000000.123456789", 1700000000123456789),
        ("2023-11-14T22:13:20.123456789", 1700000000123456789),
        ("2023-11-14T22:13:20.123456789Z", 1700000000123456789),
        ("2023-11-14 23:13:20.123456+01:00", 1700000000123456000),
    ],
)
def test_the_form_of_a_time_tells_its_unit(tmp_path: Path, cell: str, ns: int) -> None:
    [message] = TabularSource([write(tmp_path, f"time,price,size\n{cell},1,1\n")], instrument="X")
    assert message.ts_recv == ns


def test_a_mapping_names_foreign_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "T;p;q;m\n1700000000123;5;2;true\n")
    mapping = ColumnMapping(delimiter=";", ts_event="T", price="p", size="q", buyer_maker="m")
    [trade] = TabularSource([path], mappings=[mapping], instrument="X")
    assert trade == Trade(
        instrument="X",
        ts_recv=1700000000123 * 10**6,
        ts_event=1700000000123 * 10**6,
        price=5,
        size=2,
        aggressor="sell",
    )


def test_a_mapping_gives_a_header_to_a_file_without(tmp_path: Path) -> None:
    path = write(tmp_path, "7,5,2\n8,6,2\n")
    mapping = ColumnMapping(header=("t", "p", "q"), time_unit="s", ts_recv="t", price="p", size="q")
    first, _ = TabularSource([path], mappings=[mapping], instrument="X")
    assert first == Trade(instrument="X", ts_recv=7 * 10**9, price=5, size=2)


def test_bars_stamped_with_their_opening_are_shifted_to_their_close(tmp_path: Path) -> None:
    path = write(tmp_path, "opened,open,high,low,close,volume\n1700000000,1,1,1,1,0\n")
    mapping = ColumnMapping(ts_recv="opened", bar_shift_s=60)
    [bar] = TabularSource([path], mappings=[mapping], instrument="X")
    assert bar.ts_recv == 1700000060 * 10**9


@pytest.mark.parametrize(
    ("rows", "column", "expected"),
    [
        ("A,1,1,1,2,1\nA,2,x,1,2,1\n", "bid", "a number"),
        ("A,1,1,1,2,1\nA,2,nan,1,2,1\n", "bid", "a finite number"),
        ("A,1,1,1,2,1\nA,2,1,inf,2,1\n", "bid_size", "a finite number"),
        ("A,1,1,1,2,1\nA,2,1,-1,2,1\n", "bid_size", "at least 0"),
        ("A,1,1,1,2,1\nA,2,1,1,,1\n", "ask", "a number"),
        ("A,1,1,1,2,1\nA,,1,1,2,1\n", "ts_local_ns", "a time"),
        ("A,1,1,1,2,1\nA,later,1,1,2,1\n", "ts_local_ns", "a time"),
        ("A,1,1,1,2,1\n,2,1,1,2,1\n", "instrument", "a name"),
    ],
)
def test_a_malformed_cell_is_refused_with_file_line_and_column(
    tmp_path: Path, rows: str, column: str, expected: str
) -> None:
    path = write(tmp_path, QUOTES + rows)
    with pytest.raises(BadCell) as refused:
        TabularSource([path])
    assert (refused.value.path, refused.value.place, refused.value.column) == (path, "line 3", column)
    assert expected in refused.value.expected


def test_the_line_of_a_cell_far_down_is_right(tmp_path: Path) -> None:
    path = write(tmp_path, QUOTES + "A,1,1,1,2,1\n" * 5_000 + "\nA,1,1,1,2,one\n")
    with pytest.raises(BadCell, match="line 5003, column ask_size"):
        TabularSource([path])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        (QUOTES, "no rows"),
        (QUOTES + "A,1,1,1,2,1\nA,1,1\n", "line 3 has 3 cells"),
        ("a,b\n1,2\n", "feed.mappings"),
        ("bid,bid_size,ask,ask_size\n1,1,1,1\n", "time"),
        ("ts_recv,bid,ask\n1,1,1\n", "bid_size, ask_size"),
        ("ts_recv,price,price,size\n1,1,1,1\n", "twice"),
        (TRADES + "1610064000278,1,1,perhaps\n", "true or false"),
        (TRADES + "1610064000278,1,0,True\n", "above 0"),
        (TRADES + "1610064000278,1,1,True\n1610064000278000,1,1,True\n", "a time"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises((BadTable, BadCell), match=expected):
        TabularSource([write(tmp_path, text)], instrument="A")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="no such file"):
        TabularSource([str(tmp_path / "none.csv")])
    with pytest.raises(BadTable, match=r"\.parquet"):
        TabularSource([write(tmp_path, "", "data.xls")])
    whole = gzip.compress(QUOTES.encode() * 1000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadTable, match="read"):
        TabularSource([str(tmp_path / "cut.csv.gz")])
    (tmp_path / "latin.csv").write_bytes(b"ts,pr\xefs\n")
    with pytest.raises(BadTable, match="UTF-8"):
        TabularSource([str(tmp_path / "latin.csv")])
