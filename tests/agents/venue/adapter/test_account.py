"""What goes out for what the venue says: differences, whatever comes twice, late or out of order."""

from typing import Any

from agents.venue.adapter.account import Account
from agents.venue.adapter.venue import VenueOrder
from messages import ExecutionReport, ReportStatus
from messages.reports import OrderPosition
from tests.agents.venue.market import order

PLACE = OrderPosition(partition=2, offset=7)


def account() -> Account:
    return Account(order(0, 0, quantity=10.0), PLACE)


def seen(status: str, filled: float = 0.0, price: float = 100.0, **changes: Any) -> VenueOrder:
    fields: dict[str, Any] = {"filled": filled, "value": filled * price, "fee": filled * 0.1, "liquidity": "taker"}
    return VenueOrder(order_id="o0", status=ReportStatus(status), ts=1, **(fields | changes))


def told(reports: list[ExecutionReport]) -> list[tuple[int, str, float, float]]:
    return [(r.report_seq, r.status.value, r.cumulative_quantity, r.leaves_quantity) for r in reports]


def test_fills_are_told_as_differences_of_totals() -> None:
    one = account()
    assert told(one.news(seen("new"))) == [(0, "new", 0, 10)]
    (first,) = one.news(seen("partially_filled", 4, price=100))
    (second,) = one.news(seen("filled", 10, value=4 * 100 + 6 * 110))
    assert (first.last_quantity, first.last_price, first.leaves_quantity) == (4, 100, 6)
    assert (second.last_quantity, second.last_price, second.average_price) == (6, 110, 106)
    assert (second.status, second.leaves_quantity, second.order) == ("filled", 0, PLACE)


def test_what_comes_twice_or_late_says_nothing() -> None:
    one = account()
    one.news(seen("partially_filled", 4))
    assert one.news(seen("partially_filled", 4)) == []
    assert one.news(seen("new")) == []
    assert one.news(seen("partially_filled", 3)) == []


def test_a_fill_that_was_missed_comes_before_the_end() -> None:
    assert told(account().news(seen("canceled", 4))) == [(0, "partially_filled", 4, 6), (1, "canceled", 4, 0)]


def test_a_fill_after_the_end_is_told_all_the_same() -> None:
    one = account()
    one.refusal("nobody knew it", 1)
    assert told(one.news(seen("partially_filled", 4))) == [(1, "partially_filled", 4, 0)]
    assert one.is_final


def test_an_order_that_the_venue_has_forgotten_ends_with_its_fills() -> None:
    one = account()
    one.news(seen("partially_filled", 4))
    assert told(one.refusal("the venue does not know it", 2)) == [(1, "canceled", 4, 0)]
    assert told(account().refusal("the venue does not know it", 2)) == [(0, "rejected", 0, 0)]


def test_an_order_goes_on_where_the_topic_ends() -> None:
    before, after = account(), account()
    reports = before.news(seen("partially_filled", 4))
    after.resume(reports[-1], is_final=False)
    assert after.news(seen("partially_filled", 4)) == []
    assert after.news(seen("filled", 10)) == before.news(seen("filled", 10))


def test_a_refused_cancel_leaves_the_order_as_it_is() -> None:
    one = account()
    one.news(seen("partially_filled", 4))
    assert told(one.cancel_rejection("too late", 2)) == [(1, "cancel_rejected", 4, 6)]
    assert told(one.news(seen("filled", 10))) == [(2, "filled", 10, 0)]
