"""Which column of a file is which field: known names, and a mapping for all others."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from agents.feed.errors import BadTable

Kind = Literal["quote", "trade", "bar"]
TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
Column = Annotated[str, Meta(min_length=1)]


class ColumnMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names the columns of files that use other names than the known ones.

    It applies to a file that has every column it names; what it leaves out is looked up among the known names.
    `header` gives the names where a file has no header line. `time_unit` is for all time columns of the file; without
    it the column's ending (_ns, _us, _ms, _s), the value's form (ISO 8601) or its size decides. `bar_shift_s` is
    added to the time of bars: the interval, where a file stamps a bar with its opening instead of its close.
    """

    kind: Kind | None = None
    header: tuple[Column, ...] = ()
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    time_unit: TimeUnit | None = None
    bar_shift_s: Annotated[float, Meta(ge=0)] = 0.0
    instrument: Column | None = None
    ts_recv: Column | None = None  # the recorder's clock
    ts_event: Column | None = None  # the venue's clock; also ts_recv where there is no other
    bid: Column | None = None
    bid_size: Column | None = None
    ask: Column | None = None
    ask_size: Column | None = None
    seq: Column | None = None
    price: Column | None = None
    size: Column | None = None
    aggressor: Column | None = None  # buy or sell
    buyer_maker: Column | None = None  # true: the aggressor sold
    trade_id: Column | None = None
    open: Column | None = None
    high: Column | None = None
    low: Column | None = None
    close: Column | None = None
    volume: Column | None = None


_SETTINGS = ("kind", "header", "delimiter", "time_unit", "bar_shift_s")
FIELDS: tuple[str, ...] = tuple(name for name in ColumnMapping.__struct_fields__ if name not in _SETTINGS)


def _with_units(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{ending}" for name in names for ending in ("", "_ns", "_us", "_ms", "_s"))


KNOWN: dict[str, tuple[str, ...]] = {
    "instrument": ("instrument", "symbol", "instrument_id"),
    "ts_recv": _with_units("ts_recv", "ts_local", "local_timestamp", "timestamp", "time", "datetime", "date"),
    "ts_event": _with_units("ts_event", "ts_exchange", "exchange_timestamp"),
    "bid": ("bid", "bid_px", "bid_price"),
    "bid_size": ("bid_size", "bid_qty", "bid_quantity", "bid_amount"),
    "ask": ("ask", "ask_px", "ask_price"),
    "ask_size": ("ask_size", "ask_qty", "ask_quantity", "ask_amount"),
    "seq": ("seq", "sequence", "update_id"),
    "price": ("price", "px"),
    "size": ("size", "quantity", "qty", "amount"),
    "aggressor": ("aggressor", "aggressor_side", "side"),
    "buyer_maker": ("buyer_maker", "is_buyer_maker"),
    "trade_id": ("trade_id", "id"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume",),
}

REQUIRED: dict[Kind, tuple[str, ...]] = {
    "quote": ("bid", "bid_size", "ask", "ask_size"),
    "trade": ("price", "size"),
    "bar": ("open", "high", "low", "close", "volume"),
}
OPTIONAL: dict[Kind, tuple[str, ...]] = {
    "quote": ("seq",),
    "trade": ("aggressor", "buyer_maker", "trade_id"),
    "bar": (),
}
_TELLING: dict[Kind, tuple[str, ...]] = {
    "quote": ("bid", "ask"),
    "trade": ("price", "size"),
    "bar": ("open", "high", "low", "close"),
}


class Layout(Struct, frozen=True, kw_only=True):
    """What a file holds: its kind and the column of each field that it has."""

    kind: Kind
    columns: dict[str, str]
    time_unit: TimeUnit | None
    bar_shift_s: float


def mapping_for(header: Sequence[str], mappings: Sequence[ColumnMapping]) -> ColumnMapping:
    """Return the first mapping whose columns are all there, or the empty one."""
    for mapping in mappings:
        named = _named(mapping)
        if named and set(named.values()) <= set(header):
            return mapping
    return ColumnMapping()


def layout_of(path: str, header: Sequence[str], mapping: ColumnMapping) -> Layout:
    """Return what the columns hold. Raises BadTable when that is not clear."""
    if doubles := sorted({name for name in header if header.count(name) > 1}):
        raise BadTable(path, f"columns {', '.join(doubles)} are there twice")
    columns = _named(mapping)
    taken = set(columns.values())
    for field, names in KNOWN.items():
        if field not in columns and (known := next((n for n in names if n in header and n not in taken), None)):
            columns[field] = known
    kind = mapping.kind or _kind(path, header, columns)
    if missing := [field for field in REQUIRED[kind] if field not in columns]:
        raise _unclear(path, header, f"no column for {', '.join(missing)} of a {kind}")
    if "ts_recv" not in columns and "ts_event" not in columns:
        raise _unclear(path, header, "no column holds the time")
    wanted = {"instrument", "ts_recv", "ts_event", *REQUIRED[kind], *OPTIONAL[kind]}
    return Layout(
        kind=kind,
        columns={field: column for field, column in columns.items() if field in wanted},
        time_unit=mapping.time_unit,
        bar_shift_s=mapping.bar_shift_s,
    )


def _named(mapping: ColumnMapping) -> dict[str, str]:
    return {name: column for name, column in structs.asdict(mapping).items() if name in FIELDS and column is not None}


def _kind(path: str, header: Sequence[str], columns: dict[str, str]) -> Kind:
    kinds = [kind for kind, telling in _TELLING.items() if all(field in columns for field in telling)]
    if len(kinds) != 1:
        which = f"could be {' or '.join(kinds)}" if kinds else "holds neither quotes (bid, ask) nor trades nor bars"
        raise _unclear(path, header, which)
    return kinds[0]


def _unclear(path: str, header: Sequence[str], detail: str) -> BadTable:
    return BadTable(path, f"{detail}; it has {', '.join(header)}; name the columns in the settings, feed.mappings")
