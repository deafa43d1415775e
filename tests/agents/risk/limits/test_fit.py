"""Limits have to fit what is traded, or no agent starts."""

from pathlib import Path
from typing import Any

import pytest

from agents.errors import SettingsError
from agents.settings import Settings, parse_settings, read_settings

INSTRUMENT = {"instrument": "BTCUSDT", "price_step": 0.01, "quantity_step": 0.001}


def settings(limits: object) -> Settings:
    return parse_settings({"instruments": [INSTRUMENT], "strategies": {"momentum": ["BTCUSDT"]}, "limits": limits})


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"instruments": {"BTCUSD": {}}}, r"instruments.BTCUSD is none .* did you mean BTCUSDT\?"),
        ({"strategies": {"carry": {}}}, "strategies.carry is none .* there are momentum"),
        ({"defaults": {"max_position": 0.0001}}, "max_position 0.0001 is below quantity_step 0.001"),
        ({"instruments": {"BTCUSDT": {"max_order_quantity": 1e-9}}}, "max_order_quantity 1e-09 is below quantity_step"),
        (
            {"defaults": {"min_order_quantity": 0.0015, "max_position": 0.0019}},
            "max_position 0.0019 is below min_order_quantity 0.0015 in steps",
        ),
        (
            {"defaults": {"max_positon": 3}},
            "file, limits: defaults.max_positon is no known key; did you mean max_position",
        ),
        (7, "limits: it must hold keys and values, not 7"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_start(limits: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        settings(limits)


def test_a_section_without_content_is_none() -> None:
    assert settings({"defaults": None, "instruments": None}).limits == settings(None).limits


def test_the_limits_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text("defaults: {max_position: 2.0}\n")
    path = tmp_path / "settings.yaml"
    path.write_text(f"limits: {limits}\n")
    assert read_settings(path, {}).limits.defaults.max_position == 2.0
    limits.write_text("defaults: {max_position: two}\n")
    with pytest.raises(SettingsError, match=r"limits.yaml: defaults.max_position is 'two'"):
        read_settings(path, {})
