"""What must be true of all reports together: each broken promise is told, a good story is not."""

from typing import Any

import pytest
from msgspec.structs import replace

from agents.venue.conformance import broken_promises
from messages import Claim, ExecutionReport, Order, Record, ReportStatus, encode
from messages.orders import OrderMessage
from messages.reports import OrderPosition
from tests.agents.venue.market import order


def records(topic: str, *messages: OrderMessage | ExecutionReport, partition: int = 0) -> list[Record]:
    return [
        Record(topic=topic, partition=partition, offset=offset, timestamp_ms=0, key=b"BTC", value=encode(message))
        for offset, message in enumerate(messages)
    ]


ORDER: Order = order(0, 0, quantity=10.0, limit_price=100.0, time_in_force="GTC")
ORDERS = records("orders", Claim(owner="e"), ORDER)


def said(seq: int, status: str, filled: float = 0.0, last: float = 0.0, **changes: Any) -> ExecutionReport:
    is_open = status in {"new", "partially_filled"}
    fields: dict[str, Any] = {
        "exec_id": f"e{seq}",
        "order_id": "o0",
        "instrument": "BTC",
        "ts_event": 1,
        "side": "buy",
        "strategy": "s",
        "bundle_id": "b",
        "status": ReportStatus(status),
        "report_seq": seq,
        "cumulative_quantity": filled,
        "average_price": 100.0 if filled else 0.0,
        "cumulative_fee": 0.0,
        "leaves_quantity": 10.0 - filled if is_open else 0.0,
        "order": OrderPosition(partition=0, offset=1),
        "last_quantity": last or None,
        "last_price": 100.0 if last else None,
    }
    return ExecutionReport(**(fields | changes))


STORY = (said(0, "new"), said(1, "partially_filled", 4, 4), said(2, "canceled", 4))


def test_a_good_story_breaks_nothing_and_repeats_neither() -> None:
    late = said(3, "cancel_rejected", 4, reason="too late")
    assert broken_promises(ORDERS, records("reports", *STORY, late)) == []
    assert broken_promises(ORDERS, records("reports", *STORY, STORY[1], STORY[2])) == []
    assert broken_promises(ORDERS, []) == []


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ((replace(STORY[0], order_id="o9"),), "is no valid order"),
        ((replace(STORY[0], order=OrderPosition(partition=0, offset=5)),), "the answer names"),
        ((replace(STORY[0], side="sell"),), "side"),
        ((replace(STORY[0], leaves_quantity=1.0),), "leaves_quantity 1, 10 are left"),
        ((STORY[0], STORY[2]), "report_seq 2 where 1 is next"),
        ((STORY[0], replace(STORY[1], last_quantity=3.0)), "after 0 and a fill of 3"),
        ((STORY[0], replace(STORY[1], average_price=99.0)), "is not that of its fills"),
        ((STORY[0], replace(STORY[1], last_price=101.0, average_price=101.0)), "its limit is 100"),
        ((said(0, "filled", 4, 4),), "filled with 6 left"),
        ((said(0, "filled", 12, 12, leaves_quantity=0.0),), "12 filled of 10"),
        ((said(0, "rejected"),), "without a reason"),
        ((*STORY, said(3, "canceled", 4)), "after the order's end"),
        ((*STORY, replace(STORY[1], cumulative_fee=1.0)), "stands for two reports"),
        ((*STORY, replace(STORY[1], exec_id="other")), "has two exec_ids"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_promise_is_told(reports: tuple[ExecutionReport, ...], problem: str) -> None:
    wrong = broken_promises(ORDERS, records("reports", *reports))
    assert any(problem in line for line in wrong), wrong


def test_an_answer_in_another_partition_is_told() -> None:
    (wrong,) = broken_promises(ORDERS, records("reports", STORY[0], partition=1))
    assert "answered in partition 1" in wrong


def test_terms_of_the_order_are_looked_at() -> None:
    post_only = records("orders", replace(ORDER, time_in_force="GTX"))
    all_or_nothing = records("orders", replace(ORDER, time_in_force="FOK"))
    place = OrderPosition(partition=0, offset=0)
    took = said(0, "partially_filled", 4, 4, liquidity="taker", order=place)
    assert "post-only, and it took" in broken_promises(post_only, records("reports", took))[0]
    ended = replace(said(1, "expired", 4), order=place)
    assert "fill or kill" in broken_promises(all_or_nothing, records("reports", took, ended))[0]
