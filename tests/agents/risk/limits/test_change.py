"""Changes of limits as people write them, and what they do."""

from collections.abc import Sequence

import pytest

from agents.risk.limits.change import Change, ChangeRefused, changes_between, parse_changes
from agents.risk.limits.file import Limits


def test_keys_and_numbers_are_read() -> None:
    assert parse_changes(["defaults.max_position=2.5", "instruments.A.B.max_open_orders = 3"]) == {
        "defaults.max_position": 2.5,
        "instruments.A.B.max_open_orders": 3.0,
    }


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["defaults.max_position"], "is no KEY=NUMBER"),
        (["=3"], "is no KEY=NUMBER"),
        (["defaults.max_position=5%"], "is no KEY=NUMBER"),
        (["defaults.max_position=1", "defaults.max_position=2"], "is there twice"),
        (["shares.0.gross=0.5"], "Risk moves shares"),
    ],
)
def test_what_is_no_change_is_refused(texts: Sequence[str], says: str) -> None:
    with pytest.raises(ChangeRefused, match=says):
        parse_changes(texts)


def test_each_change_says_whether_it_is_stricter() -> None:
    before = Limits.convert({"defaults": {"max_order_value": 500.0}, "instruments": {"B.C": {"max_open_orders": 4}}})
    wanted = {
        "defaults.max_position": 2.0,
        "defaults.max_order_value": 600.0,
        "defaults.duplicate_window_ms": 100.0,
        "instruments.B.C.max_open_orders": 4.0,
        "instruments.ETH.max_open_orders": 2.0,
        "strategies.s.max_order_value": 100.0,
        "portfolio.max_drawdown": 0.5,
    }
    made = changes_between(before, before.changed(wanted), wanted)
    assert [(change.old, change.new, change.direction) for change in made] == [
        (None, 2.0, "stricter"),
        (500.0, 600.0, "looser"),
        (20, 100, "stricter"),
        (4, 4, "unchanged"),
        (16, 2, "stricter"),
        (500.0, 100.0, "stricter"),
        (0.2, 0.5, "looser"),
    ]
    assert made[0] == Change(key="defaults.max_position", old=None, new=2.0, direction="stricter")
