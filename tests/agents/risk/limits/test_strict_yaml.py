"""YAML for people who lose money on it: nothing means something else than it looks like."""

from pathlib import Path

import pytest

from agents.errors import SettingsError
from agents.risk.limits.strict_yaml import MAX_BYTES, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e6", 1_000_000.0),
        ("2.5E-3", 0.0025),
        (".5", 0.5),
        ("1_000", 1_000),
        ("-3", -3),
        ("010", "010"),
        ("10:30", "10:30"),
        ("NO", "NO"),
        ("on", "on"),
        ("2026-11-21", "2026-11-21"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: object) -> None:
    found = parse_yaml(text, where="here")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "'c' is there twice at line 2, column 11"),
        ("a: &x [1]\nb: *x", "aliases are not taken.* at line 2"),
        ('a: "\\ud800"', "lone surrogate.* at line 1, column 4"),
        ('"\\ud800": 1', "lone surrogate.* at line 1, column 1"),
        ("a: [", "no YAML: .* at line 1"),
        ("!!python/object/apply:os.getcwd []", "no YAML"),
        ("[" * 100_000, "can't be read"),
        ("9" * 5_000, "can't be read"),
        ("x" * (MAX_BYTES + 1), "larger than"),
        ("? [1]\n: 2", "no YAML"),
    ],
)
def test_what_could_be_misread_or_does_harm_is_refused(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse_yaml(text, where="here")


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(SettingsError, match="aliases"):
        parse_yaml("\n".join(["x0: &x0 boom", *lines]), where="here")


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_yaml(tmp_path / "none.yaml", where="here")
    with pytest.raises(SettingsError, match="can't be read"):
        read_yaml(tmp_path, where="here")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4\n")
    with pytest.raises(SettingsError, match="no UTF-8"):
        read_yaml(tmp_path / "latin.yaml", where="here")
    (tmp_path / "huge.yaml").write_bytes("ä".encode() * MAX_BYTES)
    with pytest.raises(SettingsError, match="larger than"):
        read_yaml(tmp_path / "huge.yaml", where="here")
