"""The limits file: clear errors, overrides, the stricter counts."""

from pathlib import Path

import pytest

from agents.errors import SettingsError
from agents.risk.limits import Limits, OrderLimitChanges, OrderLimits, bundle_limits, stricter


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("defaults: {max_positon: 3}", "max_positon"),
        ("defaults: {max_position: -3}", "> 0"),
        ("defaults: {max_order_value: .nan}", "max_order_value"),
        ("defaults: {max_open_orders: 1.5}", "max_open_orders"),
        ("portfolio: {max_drawdown: 20}", "max_drawdown"),
        ("instruments: {BTC: {min_order_quantity: 2, max_order_quantity: 1}}", "nothing could be ordered"),
        ("defaults: [", "not YAML"),
        ("42", "object"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_and_the_reason(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Limits.parse(text)


def test_a_file_is_read_and_an_empty_one_means_defaults(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("defaults: {max_position: 2.5}\n")
    assert Limits.read(path).defaults.max_position == 2.5
    path.write_text("")
    assert Limits.read(path) == Limits()
    with pytest.raises(SettingsError, match="missing"):
        Limits.read(tmp_path / "missing.yaml")


def test_changes_and_limits_have_the_same_fields() -> None:
    assert OrderLimitChanges.__struct_fields__ == OrderLimits.__struct_fields__


def test_an_instrument_replaces_the_default_and_of_instrument_and_strategy_the_stricter_counts() -> None:
    limits = Limits.parse(
        "defaults: {max_position: 1, duplicate_window_ms: 5}\n"
        "instruments: {BTC: {max_position: 3, duplicate_window_ms: 10}}\n"
        "strategies: {s: {max_position: 2, duplicate_window_ms: 20}}\n"
    )
    assert limits.for_pair("t", "ETH").max_position == 1
    assert limits.for_pair("t", "BTC").max_position == 3
    assert limits.for_pair("s", "BTC").max_position == 2
    assert limits.for_pair("s", "BTC").duplicate_window_ms == 20


def test_a_bundle_can_only_make_limits_stricter() -> None:
    own = Limits().defaults
    asked = bundle_limits({"max_position": 2, "max_order_value": 1e9, "max_open_orders": 1})
    assert stricter(own, asked).max_position == 2
    assert stricter(own, asked).max_order_value == own.max_order_value
    assert stricter(own, asked).max_open_orders == 1
    with pytest.raises(SettingsError, match="max_fun"):
        bundle_limits({"max_fun": 1})


def test_changes_at_run_time_are_checked_as_the_file_is() -> None:
    limits = Limits().changed(
        {"defaults.max_position": 2.0, "instruments.BTC.PERP.max_open_orders": 3.0, "portfolio.max_drawdown": 0.1}
    )
    assert limits.defaults.max_position == 2
    assert limits.for_pair("s", "BTC.PERP").max_open_orders == 3
    assert limits.portfolio.max_drawdown == 0.1
    for wrong in ("max_position", "defaults.x.max_position", "nowhere.max_position", "instruments.max_position"):
        with pytest.raises(SettingsError, match=wrong.split(".", maxsplit=1)[0]):
            limits.changed({wrong: 1.0})
    with pytest.raises(SettingsError, match="max_drawdown"):
        limits.changed({"portfolio.max_drawdown": 7.0})


@pytest.mark.parametrize(
    "name",
    ["price_collar_period_ms", "duplicate_window_ms", "max_repeated_executions", "repeated_execution_window_ms"],
)
def test_a_bundle_cannot_set_what_the_gate_remembers(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: only the limits file can set it"):
        bundle_limits({name: 5.0, "max_position": 1.0})
