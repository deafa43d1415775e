"""Settings, limits, recordings and the worker's lines: whatever the bytes, they are read or refused with one error."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from agents.errors import SettingsError
from agents.replay.record import RecordingBroken, RecordingIndex, read_index
from agents.risk.limits.file import Limits, OrderLimitChanges, bundle_limits
from agents.settings import parse_settings, read_settings
from tests.fuzzing import FAMILY, JSON_FORM, Case, family, run_cases, valid

INPUTS = 2_400
SETTINGS = {
    "bus": "kafka://127.0.0.1:9092",
    "shards": 2,
    "cash": 1000.0,
    "instruments": [{"instrument": "X", "price_step": 0.5, "quantity_step": 1.0, "currency": "USD"}],
    "strategies": {"s": ["X"]},
    "limits": {"defaults": {"max_position": 5.0, "max_open_orders": 3}, "portfolio": {"max_drawdown": 0.1}},
    "execution": {"flush_interval_ms": 50, "decisions": {"conflate": False}},
}
LIMITS = {
    "defaults": {"max_order_quantity": 2.0, "min_order_quantity": 1.0, "max_open_orders": 4},
    "instruments": {"X": {"max_position": 3.0}},
    "strategies": {"s": {"price_collar_bps": 10.0}},
    "portfolio": {"max_drawdown": 0.1, "reject_window": 10},
}
VALUES: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0, 2**63, 2**64, -(2**63) - 1, 10**40, 10**400, True, None),
    *("", "x" * 10_000, b"x", [], {}, [[]], {"x": {}}, {1: 2}, {None: 1}, {(): 1}, 0, -1, 1.5, "nan", object()),
)


# A few kilobytes at most: the parser of YAML takes its time.
TEXT_FORM = JSON_FORM._replace(
    fragments=(*(f for f in JSON_FORM.fragments if len(f) < 1_000), b"[" * 400, b"2001-99-99", b".nan", b"&a [*a]")
)


def check_finite(content: Any, where: str = "$") -> None:
    if isinstance(content, float):
        assert math.isfinite(content), where
    elif isinstance(content, dict):
        for name, value in content.items():
            check_finite(value, f"{where}.{name}")
    elif isinstance(content, list | tuple):
        for value in content:
            check_finite(value, where)


def check_text(read: Callable[[bytes], Any], fields: dict[str, Any]) -> int:
    """Read a family of texts around `fields`: JSON is YAML, too."""

    def check(case: Case) -> int:
        for value in family(TEXT_FORM, case):
            with suppress(SettingsError):
                check_finite(msgspec.to_builtins(read(value), enc_hook=repr))
        return FAMILY

    read(JSON_FORM.pack(fields))
    return run_cases(st.just(fields), check, inputs=INPUTS)


def test_a_damaged_settings_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"

    def read(text: bytes) -> Any:
        path.write_bytes(text)
        return read_settings(path, {})

    assert check_text(read, SETTINGS) >= 2_000


def test_a_damaged_limits_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"

    def read(text: bytes) -> Any:
        path.write_bytes(text)
        return Limits.read(path)

    assert check_text(read, LIMITS) >= 2_000


def check_values(convert: Callable[[Any], Any], fields: Any) -> int:
    """Convert `fields` with each value replaced by each strange one, and by none."""
    tried = 0
    for where in range(1, len(list(_paths(fields)))):
        path = list(_paths(fields))[where]
        for value in VALUES:
            with suppress(SettingsError):
                check_finite(msgspec.to_builtins(convert(_with(fields, path, value)), enc_hook=repr))
            tried += 1
    convert(fields)
    return tried


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from _paths(value, (*path, name))


def _with(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    if isinstance(tree, dict):
        return {name: _with(inner, path[1:], value) if name == path[0] else inner for name, inner in tree.items()}
    return [_with(inner, path[1:], value) if index == path[0] else inner for index, inner in enumerate(tree)]


def test_strange_values_in_settings_and_limits_are_refused_or_finite() -> None:
    assert check_values(parse_settings, SETTINGS) > 400
    assert check_values(Limits.convert, LIMITS) > 300
    remembered = {
        "price_collar_period_ms",
        "duplicate_window_ms",
        "max_repeated_executions",
        "repeated_execution_window_ms",
    }
    assert check_values(bundle_limits, dict.fromkeys({*OrderLimitChanges.__struct_fields__} - remembered, 5)) > 200


def test_strange_changes_of_limits_are_refused_or_finite() -> None:
    limits = Limits.convert(LIMITS)
    keys = (
        "defaults.max_position",
        "defaults.max_open_orders",
        "portfolio.reject_window",
        "instruments.X.max_position",
    )
    strange_keys = (
        "",
        ".",
        "defaults",
        "defaults.",
        "x.y",
        "instruments.max_position",
        "instruments..x",
        "defaults.a.b",
    )
    numbers = (0.0, -1.0, 0.5, 3.0, 1e17, 1e18, 1e300, 5e-324, 2.0**63, -(2.0**63))
    for key in (*keys, *strange_keys):
        for number in numbers:
            with suppress(SettingsError):
                check_finite(msgspec.to_builtins(limits.changed({key: number})))


def test_a_damaged_index_of_a_recording_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "recording.json"

    def check(case: Case) -> int:
        for value in family(JSON_FORM, case):
            path.write_bytes(value)
            with suppress(RecordingBroken):
                read_index(tmp_path)
        return FAMILY

    assert run_cases(valid(RecordingIndex), check, inputs=INPUTS) >= 2_000
