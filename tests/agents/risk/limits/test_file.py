"""The limits file: clear errors, overrides, the stricter counts."""

from pathlib import Path

import pytest

from agents.errors import SettingsError
from agents.risk.limits.file import Limits, OrderLimitChanges, OrderLimits, bundle_limits, stricter


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("defaults: {max_positon: 3}", r"defaults.max_positon is no known key; did you mean max_position\?"),
        (
            "instruments: {B.C: {max_fun: 3}}",
            "instruments.B.C.max_fun is no known key; there are duplicate_window_ms, ",
        ),
        ("portfolo: {}", "portfolo is no known section; did you mean portfolio"),
        ("defaults: {max_position: -3}", "defaults.max_position is -3: Expected `float` > 0"),
        ("defaults: {price_collar_bps: -1}", "basis points: 1 % is 100"),
        ("defaults: {max_order_value: .nan}", "max_order_value is nan: must be finite"),
        ("defaults: {max_order_value: 1e400}", "max_order_value is inf: must be finite"),
        ("defaults: {max_order_value: 1e18}", "max_order_value is 1e[+]18: Expected `float` < "),
        ("defaults: {max_order_value: 5%}", "'5%': .*the account's currency.*without its unit"),
        ("defaults: {max_open_orders: 1.5}", "max_open_orders is 1.5: Expected `int`"),
        ("defaults: {max_open_orders: true}", "max_open_orders is True: Expected `int`"),
        ("defaults: {max_reference_age_ms: 0.5}", "whole milliseconds: 1 s is 1000"),
        ("defaults: {max_reference_age_ms: 5}", "defaults.max_reference_age_ms is 5: .* if seconds are meant, 5000"),
        ("strategies: {s: {repeated_execution_window_ms: 60}}", "s.repeated_execution_window_ms is 60: .* 60000"),
        ("portfolio: {max_market_age_ms: 60}", "if seconds are meant, 60000"),
        ("portfolio: {max_drawdown: 20}", r"max_drawdown is 20: .*\(a fraction: 10 % is 0.1\)"),
        ("instruments: {BTC: {min_order_quantity: 2, max_order_quantity: 1}}", "nothing could be ordered"),
        (
            "defaults: {min_order_quantity: 2}\ninstruments: {BTC: {max_position: 1}}",
            "strategy any, instrument BTC: min_order_quantity 2 is above max_position 1",
        ),
        ("strategies: {s: {max_order_value: 1}}\ndefaults: {min_order_value: 2}", "strategy s, instrument any"),
        ("defaults: {min_order_value: 20, max_net_exposure: 10}", "min_order_value 20 is above max_net_exposure 10"),
        ("defaults: {max_position: 1, max_position: 2}", "'max_position' is there twice"),
        ("defaults: {max_position: 1}\ndefaults: {}", "'defaults' is there twice"),
        ("defaults: &x {}\nportfolio: *x", "aliases"),
        ("instruments: {123: {}}", "the key 123, which is no text; put it in quotes"),
        ("defaults: [1]", r"defaults must hold keys and values, not \[1\]"),
        ("defaults: [", "no YAML"),
        ("42", "it must hold keys and values, not 42"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_and_the_reason(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Limits.parse(text)


@pytest.mark.parametrize("strange", [10**400, "x" * 10_000, b"x", object(), float("-inf"), {}, []])
def test_a_strange_value_is_told_in_a_line(strange: object) -> None:
    with pytest.raises(SettingsError, match=r"defaults\.max_position is ") as caught:
        Limits.convert({"defaults": {"max_position": strange}})
    assert len(str(caught.value)) < 300


def test_a_file_is_read_and_an_empty_one_means_defaults(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("defaults: {max_position: 2.5}\n")
    assert Limits.read(path).defaults.max_position == 2.5
    path.write_text("")
    assert Limits.read(path) == Limits()
    with pytest.raises(SettingsError, match=r"missing\.yaml: can't be read"):
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
