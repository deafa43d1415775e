"""Quotes, trades and bars from files, merged into one stream in order of `ts_recv`.

Known without a mapping: recorder's time in nanoseconds with or without the exchange's (`ts_local_ns`,
`ts_exchange_ms`), one `timestamp` in milliseconds, ISO times; `buyer_maker` (true: the aggressor sold). Without a
recorder's time, the exchange's is the time basis. Bars are stamped with their close: in the 1-minute file that this was
found on, volume and range peak in the bars stamped :01, :31, :16 and :46, the minutes *after* the quarter hours.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from agents.feed import cells as parse
from agents.feed.cells import MISSING, SIDES, Cells, Integers, Unparsable
from agents.feed.columns import ColumnMapping, Kind, Layout, TimeUnit, layout_of, mapping_for
from agents.feed.csv import CsvReader
from agents.feed.errors import BadCell, BadTable
from agents.feed.parquet import ParquetReader
from messages.market import Bar, MarketMessage, Quote, Trade

_CHUNK = 8192


class TableReader(Protocol):
    """One file, whatever its format."""

    path: str

    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns. Raises BadTable or MissingExtra."""
        ...

    def chunks(self, wanted: Sequence[str]) -> Iterator[list[Cells]]:
        """Yield the wanted columns' cells, a bounded number of rows at a time. Raises BadTable."""
        ...

    def place(self, row: int) -> str:
        """Say where data row `row` (from 0) is, in the words of the format."""
        ...


class FileFacts(Struct, frozen=True, kw_only=True):
    """What was read of one file. `disorder` counts rows earlier than one before them, `ties` equal neighbours."""

    path: str
    kind: Kind
    rows: int
    disorder: int
    ties: int


class _Table(NamedTuple):
    kind: Kind
    ts: Integers  # sorted
    columns: tuple[npt.NDArray[Any], ...]  # in the order of the kind's build function
    names: tuple[str, ...]


class TabularSource:
    """Market data files as a Source; all are read, checked and sorted at construction.

    Rows of one time keep their order in the file, and files the order given. `instrument` names the messages of files
    without such a column. Raises BadTable, BadCell or MissingExtra: a malformed row is never skipped.
    """

    def __init__(
        self, files: Sequence[str], *, mappings: Sequence[ColumnMapping] = (), instrument: str | None = None
    ) -> None:
        read = [_read(path, mappings, instrument) for path in files]
        self._tables = [table for table, _ in read]
        self.files: tuple[FileFacts, ...] = tuple(facts for _, facts in read)
        which = np.repeat(np.arange(len(read), dtype=np.int32), [table.ts.size for table in self._tables])
        every_ts = np.concatenate([table.ts for table in self._tables]) if read else np.zeros(0, np.int64)
        self._which = which[np.argsort(every_ts, kind="stable")]

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for table in self._tables for name in table.names))

    @property
    def count(self) -> int:
        return int(self._which.size)

    def __iter__(self) -> Iterator[MarketMessage]:
        streams = [_messages(table) for table in self._tables]
        for low in range(0, self._which.size, _CHUNK):
            for which in self._which[low : low + _CHUNK].tolist():
                yield next(streams[which])


def _reader(path: str, mappings: Sequence[ColumnMapping]) -> tuple[TableReader, ColumnMapping]:
    name = path.lower()
    if not Path(path).is_file():
        raise BadTable(path, "there is no such file")
    if name.endswith((".parquet", ".pq")):
        reader: TableReader = ParquetReader(path)
        return reader, mapping_for(reader.columns(), mappings)
    if not name.endswith((".csv", ".csv.gz")):
        raise BadTable(path, "the name doesn't end in .csv, .csv.gz or .parquet")
    for mapping in mappings:
        reader = CsvReader(path, names=mapping.header, delimiter=mapping.delimiter)
        if mapping_for(reader.columns(), [mapping]) is mapping:
            return reader, mapping
    return CsvReader(path), ColumnMapping()


def _read(path: str, mappings: Sequence[ColumnMapping], instrument: str | None) -> tuple[_Table, FileFacts]:
    reader, mapping = _reader(path, mappings)
    layout = layout_of(path, reader.columns(), mapping)
    if "instrument" not in layout.columns and instrument is None:
        raise BadTable(path, "no column names the instrument; give its name with --instrument (feed.instrument)")
    parser = _Parser(reader, layout, instrument or "")
    wanted = list(layout.columns.values())
    parts = [parser.parse(dict(zip(layout.columns, chunk, strict=True))) for chunk in reader.chunks(wanted)]
    if not parts:
        raise BadTable(path, "it has no rows")
    ts, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    disorder = int(np.count_nonzero(ts < np.maximum.accumulate(ts)))
    ties = int(np.count_nonzero(np.diff(ts) == 0))
    order = np.argsort(ts, kind="stable")
    table = _Table(layout.kind, ts[order], tuple(column[order] for column in columns), tuple(parser.names))
    return table, FileFacts(path=path, kind=layout.kind, rows=int(ts.size), disorder=disorder, ties=ties)


class _Parser:
    """Cells of one file to arrays: (ts_recv, instrument code, ts_event or MISSING, the kind's fields)."""

    def __init__(self, reader: TableReader, layout: Layout, instrument: str) -> None:
        self._reader, self._layout = reader, layout
        self._row = 0
        self._units: dict[str, TimeUnit] = {}
        self._default = instrument
        self.names: dict[str, int] = {}

    def parse(self, chunk: dict[str, Cells]) -> tuple[npt.NDArray[Any], ...]:
        rows = len(next(iter(chunk.values())))
        ts_recv, ts_event = self._times("ts_recv", chunk, rows), self._times("ts_event", chunk, rows)
        ts = np.where(ts_recv == MISSING, ts_event, ts_recv)
        if (ts == MISSING).any():
            field = "ts_recv" if "ts_recv" in chunk else "ts_event"
            raise self._bad(field, chunk, Unparsable(int(np.argmax(ts == MISSING)), "a time"))
        if self._layout.kind == "bar":
            ts = ts + round(self._layout.bar_shift_s * 1e9)
        columns = (ts, self._instruments(chunk, rows), ts_event, *self._fields(chunk, rows))
        self._row += rows
        return columns

    def _fields(self, chunk: dict[str, Cells], rows: int) -> tuple[npt.NDArray[Any], ...]:
        def column(field: str, convert: Callable[[Cells], npt.NDArray[Any]]) -> npt.NDArray[Any]:
            try:
                return convert(chunk[field])
            except Unparsable as problem:
                raise self._bad(field, chunk, problem) from None

        def positive(field: str) -> npt.NDArray[Any]:
            return column(field, lambda cells: parse.bounded(cells, positive=True))

        def size(field: str) -> npt.NDArray[Any]:
            return column(field, lambda cells: parse.bounded(cells, positive=False))

        match self._layout.kind:
            case "quote":
                seq = column("seq", parse.integers) if "seq" in chunk else np.full(rows, MISSING)
                return column("bid", parse.floats), size("bid_size"), column("ask", parse.floats), size("ask_size"), seq
            case "trade":
                sides = np.full(rows, SIDES.index(None))
                if "aggressor" in chunk:
                    sides = column("aggressor", parse.sides)
                elif "buyer_maker" in chunk:
                    sides = column("buyer_maker", parse.sides_of_makers)
                ids = parse.texts(chunk["trade_id"]) if "trade_id" in chunk else [""] * rows
                return positive("price"), positive("size"), sides, np.array(ids, object)
            case "bar":
                return (*(positive(field) for field in ("open", "high", "low", "close")), size("volume"))

    def _times(self, field: str, chunk: dict[str, Cells], rows: int) -> Integers:
        if field not in chunk:
            return np.full(rows, MISSING)
        try:
            if field not in self._units:
                unit = self._layout.time_unit or parse.unit_of(self._layout.columns[field], chunk[field])
                if unit is None:
                    return np.full(rows, MISSING)
                self._units[field] = unit
            values = parse.nanoseconds(chunk[field], self._units[field])
            if self._layout.time_unit is None and not self._layout.columns[field].endswith(f"_{self._units[field]}"):
                parse.check_unit(values, self._units[field])
        except Unparsable as problem:
            raise self._bad(field, chunk, problem) from None
        return values

    def _instruments(self, chunk: dict[str, Cells], rows: int) -> npt.NDArray[np.int32]:
        if "instrument" not in chunk:
            self.names.setdefault(self._default, 0)
            return np.zeros(rows, np.int32)
        names = parse.texts(chunk["instrument"])
        for name in dict.fromkeys(names):
            if not 1 <= len(name) <= 128:
                raise self._bad("instrument", chunk, Unparsable(names.index(name), "a name of 1 to 128 characters"))
            self.names.setdefault(name, len(self.names))
        return np.fromiter(map(self.names.__getitem__, names), np.int32, rows)

    def _bad(self, field: str, chunk: dict[str, Cells], problem: Unparsable) -> BadCell:
        value = chunk[field][problem.index]
        place = self._reader.place(self._row + problem.index)
        return BadCell(self._reader.path, place, self._layout.columns[field], value, problem.expected)


def _messages(table: _Table) -> Iterator[MarketMessage]:
    build = _BUILD[table.kind]
    for low in range(0, table.ts.size, _CHUNK):
        part = slice(low, low + _CHUNK)
        rows = zip(table.ts[part].tolist(), *(column[part].tolist() for column in table.columns), strict=True)
        yield from build(rows, table.names)


def _quotes(rows: Iterator[tuple[Any, ...]], names: tuple[str, ...]) -> Iterator[Quote]:
    for ts, name, ts_event, bid, bid_size, ask, ask_size, seq in rows:
        yield Quote(
            instrument=names[name],
            ts_recv=ts,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            ts_event=None if ts_event == MISSING else ts_event,
            seq=None if seq == MISSING else seq,
        )


def _trades(rows: Iterator[tuple[Any, ...]], names: tuple[str, ...]) -> Iterator[Trade]:
    for ts, name, ts_event, price, size, side, trade_id in rows:
        yield Trade(
            instrument=names[name],
            ts_recv=ts,
            price=price,
            size=size,
            ts_event=None if ts_event == MISSING else ts_event,
            aggressor=SIDES[side],
            trade_id=trade_id or None,
        )


def _bars(rows: Iterator[tuple[Any, ...]], names: tuple[str, ...]) -> Iterator[Bar]:
    for ts, name, _, first, high, low, close, volume in rows:
        yield Bar(instrument=names[name], ts_recv=ts, open=first, high=high, low=low, close=close, volume=volume)


_BUILD: dict[Kind, Callable[[Iterator[tuple[Any, ...]], tuple[str, ...]], Iterator[MarketMessage]]] = {
    "quote": _quotes,
    "trade": _trades,
    "bar": _bars,
}
