"""Columns of cells to arrays. Cells are strings (CSV) or arrays of numbers and times (Parquet)."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from agents.feed.columns import TimeUnit
from messages.fields import Side

Cells = Sequence[str] | npt.NDArray[Any]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MISSING = -1  # of integers that may not be negative
_SCALE: dict[TimeUnit, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_BELOW: tuple[tuple[TimeUnit, int], ...] = (("s", 10**11), ("ms", 10**14), ("us", 10**17), ("ns", 2**63 - 1))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TRUTH = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_SIDES = {"buy": "buy", "b": "buy", "bid": "buy", "1": "buy", "sell": "sell", "s": "sell", "ask": "sell", "-1": "sell"}
SIDES: tuple[Side | None, ...] = ("buy", "sell", None)


class Unparsable(Exception):  # noqa: N818 - becomes a BadCell with file and place
    """Raised when a cell is not what it should be; `index` counts from the first cell given."""

    def __init__(self, index: int, expected: str) -> None:
        super().__init__(f"cell {index} is not {expected}")
        self.index, self.expected = index, expected


def floats(cells: Cells) -> Floats:
    """Return the cells as finite numbers. Raises Unparsable."""
    values = _numbers(cells, float, np.float64, "a number")
    _all(np.isfinite(values), "a finite number")
    return cast("Floats", values)


def bounded(cells: Cells, *, positive: bool) -> Floats:
    """Return the cells as numbers above zero, or not below it. Raises Unparsable."""
    values = floats(cells)
    _all(values > 0 if positive else values >= 0, "a number above 0" if positive else "a number of at least 0")
    return values


def integers(cells: Cells) -> Integers:
    """Return the cells as integers of at least 0, MISSING where a cell is empty. Raises Unparsable."""
    if not isinstance(cells, np.ndarray) and "" in cells:
        values = _numbers(cells, lambda cell: int(cell) if cell else MISSING, np.int64, "an integer")
    else:
        values = _numbers(cells, int, np.int64, "an integer")
        _all(values >= 0, "an integer of at least 0")
    return cast("Integers", values)


def texts(cells: Cells) -> list[str]:
    """Return the cells as text."""
    return [str(cell) for cell in cells.tolist()] if isinstance(cells, np.ndarray) else list(cells)


def sides(cells: Cells) -> Integers:
    """Return indices into SIDES. Raises Unparsable."""
    codes = {name: SIDES.index(side) for name, side in _SIDES.items()} | {"": 2}
    return _coded(cells, codes, "buy or sell")


def sides_of_makers(cells: Cells) -> Integers:
    """Return indices into SIDES for `buyer is the maker`: true means that the aggressor sold. Raises Unparsable."""
    codes = {name: SIDES.index("sell" if truth else "buy") for name, truth in _TRUTH.items()} | {"": 2}
    return _coded(cells, codes, "true or false")


def nanoseconds(cells: Cells, unit: TimeUnit) -> Integers:
    """Return times as nanoseconds since the epoch, MISSING where a cell is empty. Raises Unparsable.

    Times without zone are UTC. Fractions of seconds are exact to the nanosecond in ISO form without offset.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        times = cells.astype("datetime64[ns]")
        return _checked(np.where(np.isnat(times), MISSING, times.astype(np.int64)))
    if unit == "iso":
        return _checked(_iso(texts(cells)))
    scale = _SCALE[unit]
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iu":
        return _checked(_scaled(cells.astype(np.int64), scale))
    strings = texts(cells)
    if not any(strings):
        return np.full(len(strings), MISSING)
    try:
        plain = np.fromiter(map(int, strings), np.int64, len(strings))
    except (ValueError, OverflowError):
        values = [_decimal_ns(cell, index, scale) for index, cell in enumerate(strings)]
        return _checked(np.array(values, np.int64))
    return _checked(_scaled(plain, scale))


def unit_of(column: str, cells: Cells) -> TimeUnit | None:
    """Return the unit of a time column, from its ending or its first value, or None when all cells are empty.

    Raises Unparsable when the first value is no time.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        return "ns"
    if (ending := column.rpartition("_")[2]) in _SCALE:
        return ending
    first = next((index for index, cell in enumerate(cells) if cell != ""), None)
    if first is None:
        return None
    try:
        value = abs(Decimal(str(cells[first])))
    except InvalidOperation:
        return "iso"
    return _unit_of_size(value, first)


def check_unit(values: Integers, unit: TimeUnit) -> None:
    """Raise Unparsable where a guessed unit gives times of another age: files have changed units midway."""
    if unit == "iso":
        return
    low = {"s": 0, "ms": 10**17, "us": 10**17, "ns": 10**17}[unit]
    _all((values == MISSING) | (values >= low), f"a time in {unit}, as the file's first is")


def _unit_of_size(value: Decimal, index: int) -> TimeUnit:
    for unit, limit in _BELOW:
        if value < limit:
            return unit
    raise Unparsable(index, "a time")


def _numbers(cells: Cells, parse: Callable[[Any], Any], dtype: Any, expected: str) -> npt.NDArray[Any]:
    if isinstance(cells, np.ndarray):
        if cells.dtype.kind not in ("iu" if dtype is np.int64 else "iuf"):
            raise Unparsable(0, expected)
        return cells.astype(dtype)
    try:
        return np.fromiter(map(parse, cells), dtype, len(cells))
    except (ValueError, OverflowError):
        for index, cell in enumerate(cells):
            try:
                np.asarray(parse(cell), dtype)
            except (ValueError, OverflowError):
                raise Unparsable(index, expected) from None
        raise


def _coded(cells: Cells, codes: dict[str, int], expected: str) -> Integers:
    strings = texts(cells)
    lower = [codes.get(cell.lower(), MISSING) for cell in strings]
    values = np.array(lower, np.int64)
    _all(values != MISSING, expected)
    return values


def _scaled(values: Integers, scale: int) -> Integers:
    _all(np.abs(values) <= (2**63 - 1) // scale, "a time before 2262")
    return np.where(values == MISSING, MISSING, values * scale)


def _decimal_ns(cell: str, index: int, scale: int) -> int:
    if not cell:
        return MISSING
    try:
        value = int(Decimal(cell) * scale)
    except (InvalidOperation, ValueError, OverflowError):
        raise Unparsable(index, "a time") from None
    if not 0 <= value < 2**63:
        raise Unparsable(index, "a time between 1970 and 2262")
    return value


def _iso(cells: list[str]) -> Integers:
    plain = [cell.removesuffix("Z") for cell in cells]
    if all(cell[:1].isdigit() and "+" not in cell and cell.count("-") == 2 for cell in plain):
        try:
            return np.array(plain, "datetime64[ns]").astype(np.int64)
        except ValueError:
            pass  # the slow way finds the cell
    return np.array([_iso_ns(cell, index) for index, cell in enumerate(cells)], np.int64)


def _iso_ns(cell: str, index: int) -> int:
    if not cell:
        return MISSING
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        raise Unparsable(index, "a time in ISO 8601") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // _MICROSECOND * 1000


def _checked(values: Integers) -> Integers:
    _all(values >= MISSING, "a time since 1970")
    return values


def _all(is_good: npt.NDArray[np.bool_], expected: str) -> None:
    if not is_good.all():
        raise Unparsable(int(np.argmin(is_good)), expected)
