"""The checks of the venue's drill find what they are for."""

import json
from typing import Any

import pytest

from messages import Record
from tests.drills.venue.checks import open_orders, problems

ORDERS: dict[str, dict[str, Any]] = {"a": {"quantity": 5.0}}


def report(seq: int, status: str, *, filled: float = 0.0, last: float = 0.0, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"exec_id": f"e{seq}", "order_id": "a", "status": status, "report_seq": seq}
    fields |= {"cumulative_quantity": filled, "average_price": 10.0 if filled else 0.0, "order": {"partition": 0}}
    return fields | ({"last_quantity": last, "last_price": 10.0} if last else {}) | changes


def records(*reports: dict[str, Any]) -> list[Record]:
    return [
        Record(topic="reports", partition=0, offset=at, timestamp_ms=0, key=None, value=json.dumps(one).encode())
        for at, one in enumerate(reports)
    ]


GOOD = (report(0, "partially_filled", filled=2, last=2), report(1, "filled", filled=5, last=3))


def test_a_good_story_is_passed() -> None:
    assert problems(ORDERS, records(*GOOD)) == []
    assert open_orders(ORDERS, GOOD) == set()
    assert open_orders(ORDERS, GOOD[:1]) == {"a"}


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        (GOOD[:1], "0 last reports"),
        ((*GOOD, GOOD[1]), "e1 is there 2 times"),
        (GOOD[1:], "report_seq"),
        ((GOOD[0], report(1, "filled", filled=4, last=3)), "fills sum up to 5"),
        ((report(0, "filled", filled=5, last=5, average_price=11.0),), "fills average 10"),
        ((report(0, "filled", filled=6, last=6),), "6 filled of 5"),
        ((*GOOD, report(0, "filled", order_id="b", exec_id="f")), "b was never ordered"),
        ((GOOD[0] | {"order": {"partition": 1}}, GOOD[1]), "lies in partition 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_found(reports: tuple[dict[str, Any], ...], problem: str) -> None:
    found = problems(ORDERS, records(*reports))
    assert any(problem in line for line in found), found
