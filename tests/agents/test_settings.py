"""The settings file: what is wrong is said with its key."""

from pathlib import Path

import pytest

from agents.errors import SettingsError
from agents.settings import EXAMPLE, parse_settings, read_settings, shown, without_security
from messages import Secret, Security


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_example_that_init_prints_is_valid(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path / "s.yaml", EXAMPLE), {})
    assert settings.strategy_of == {"BTCUSDT": "default"}
    assert settings.limits.defaults.max_position == 0.5


def test_the_environment_overrides_the_file_with_nested_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "s.yaml", "shards: 2\nexecution: {group: a}\n")
    environment = {
        "TICKPILOT_SHARDS": "8",
        "TICKPILOT_EXECUTION__DECISIONS__CONFLATE": "false",
        "TICKPILOT_EXECUTION__GROUP": "b",
    }
    settings = read_settings(path, environment)
    assert settings.shards == 8
    assert settings.execution.group == "b"
    assert not settings.execution.decisions.conflate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shard: 4", "shard"),
        ("shards: many", r"\$\.shards"),
        ("execution: {flush_interval_ms: 0}", "flush_interval_ms"),
        ("strategies: {s: [NONE]}", "NONE"),
        ("- a\n- b", "keys and values"),
        ("a: [", "file"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_settings(write(tmp_path / "s.yaml", text), {})


def test_an_instrument_of_two_strategies_is_refused() -> None:
    instrument = {"instrument": "X", "price_step": 0.5, "quantity_step": 1.0}
    with pytest.raises(SettingsError, match="already"):
        parse_settings({"instruments": [instrument], "strategies": {"a": ["X"], "b": ["X"]}})


def test_instruments_of_two_currencies_are_refused() -> None:
    one = {"instrument": "X", "price_step": 0.5, "quantity_step": 1.0, "currency": "USD"}
    with pytest.raises(SettingsError, match="one currency"):
        parse_settings({"instruments": [one, one | {"instrument": "Y", "currency": "EUR"}]})


LOGIN = "security: {tls: true, mechanism: SCRAM-SHA-512, username: alice}\n"


@pytest.mark.parametrize("password", ["1234", "#none", "a: b", "{", "true", "~~", "hunter2 'x'"])
def test_a_password_comes_from_the_environment_as_it_is(tmp_path: Path, password: str) -> None:
    settings = read_settings(write(tmp_path / "s.yaml", LOGIN), {"TICKPILOT_SECURITY__PASSWORD": password})
    assert settings.security.password == Secret(password)
    assert password not in repr(settings.security)
    assert shown(settings)["security"]["password"] == "Secret(hidden)"
    assert without_security(settings).security == Security()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("security: {tsl: true}", "tsl"),
        ("security: {password: hunter2}", r"security\.password: needs a way to log in"),
        ("security: {mechanism: GSSAPI, username: a, password: hunter2}", r"\$\.security\.mechanism"),
        (
            "security: {tls: true, mechanism: PLAIN, username: a, password: 2}",
            r"in quotes - at `\$\.security\.password",
        ),
        ("security: {certificate_file: c.pem, tls: true}", "private key"),
        ("security:\n  password: 'hunter2\n", "is no YAML: .* at line"),
        ("security:\n  password: hunter2\n tls: true\n", "is no YAML: .* at line 3"),
        ("security: hunter2\n", r"\$\.security"),
    ],
)
def test_a_wrong_login_is_refused_without_showing_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        read_settings(write(tmp_path / "s.yaml", text), {})
    assert "hunter2" not in str(caught.value)


def test_a_variable_that_is_no_yaml_is_refused_with_its_name() -> None:
    with pytest.raises(SettingsError, match="TICKPILOT_SHARDS: is no YAML"):
        read_settings(None, {"TICKPILOT_SHARDS": "{"})


def test_how_long_the_bus_waits_and_where_metrics_are_shown_can_be_set() -> None:
    settings = parse_settings({"kafka": {"send_s": 3, "session_s": 12.5}, "metrics_port": 9400})
    assert (settings.kafka.send_s, settings.kafka.session_s, settings.kafka.start_s) == (3, 12.5, 10)
    assert (settings.metrics_host, settings.metrics_port) == ("127.0.0.1", 9400)
    for wrong in ({"kafka": {"send_s": 0}}, {"kafka": {"send": 3}}, {"metrics_port": 0}):
        with pytest.raises(SettingsError):
            parse_settings(wrong)
