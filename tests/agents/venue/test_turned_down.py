"""What the paper venue turns down, and why."""

from typing import Any

import pytest

from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from messages import Claim
from messages.orders import Source
from tests.agents.venue.market import (
    CONFIG,
    INSTRUMENTS,
    Ordered,
    cancel,
    order,
    ordered,
    quote,
    record,
    run,
    statuses,
    ticks,
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instrument": "DOGE"}, "UNKNOWN_INSTRUMENT: DOGE"),
        ({"quantity": 0.5}, "QUANTITY_STEP: 0.5 in steps of 1"),
        ({"limit_price": 100.5}, "PRICE_STEP: 100.5 in steps of 1"),
        ({"limit_price": 0.0, "order_type": "limit"}, "PRICE_STEP: 0 in steps of 1"),
        ({"limit_price": None, "order_type": "limit"}, "LIMIT_PRICE: limit"),
        ({"limit_price": 100.0, "order_type": "market"}, "LIMIT_PRICE: market"),
        ({"source": Source(topic="market", partition=3, offset=0)}, "SOURCE: market-3 is not market-0"),
        ({"instrument": "ETH"}, "SOURCE: market record 0 is no tick of ETH"),
        ({"reduce_only": True, "limit_price": 99.0, "time_in_force": "GTC"}, "REDUCE_ONLY_RESTS: GTC"),
    ],
)
def test_what_cannot_be_judged_is_rejected_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    (report,) = run(ordered((0, order(0, 0, **changes))), ticks(quote(0), quote(6)))
    assert (report.status, report.reason) == ("rejected", reason)


def test_an_order_that_was_sent_long_after_its_decision_is_rejected() -> None:
    (report,) = run(ordered((5_001, order(0, 0))), ticks(quote(0), quote(6)))
    assert report.reason == "TOO_OLD: 5001 ms after its decision, over 5000"


def test_an_order_on_an_older_record_than_one_before_it_is_rejected_until_a_new_owner_comes() -> None:
    orders: list[Ordered] = [
        *ordered((0, order(0, 2)), (0, order(1, 1)), (0, order(2, 1, instrument="ETH"))),
        (record("orders", 4, 0), Claim(owner="other")),
        (record("orders", 5, 0), order(3, 1, epoch=4)),
    ]
    market = ticks(quote(0), quote(1), quote(2), quote(20))
    reports = {report.order_id: report for report in run(orders, market)}
    assert reports["o1"].reason == "OUT_OF_ORDER: market record 1 after 2"
    assert reports["o2"].reason == "SOURCE: market record 1 is no tick of ETH"
    assert reports["o3"].status == "filled"


def test_void_epochs_seen_sequence_numbers_and_repeated_ids_get_no_second_answer() -> None:
    claim = (record("orders", 3, 0), Claim(owner="other"))
    orders: list[Ordered] = [
        *ordered((0, order(0, 0)), (0, order(0, 0, order_id="again"))),
        claim,
        (record("orders", 4, 0), order(1, 0, epoch=0, order_id="void")),
        (record("orders", 5, 0), order(1, 0, epoch=3, order_id="o0")),
        (record("orders", 6, 0), order(3, 0, epoch=3, order_id="o3")),
    ]
    book = PaperBook(0, CONFIG, INSTRUMENTS)
    reports = run(orders, ticks(quote(0), quote(6)), book=book)
    assert [r.order_id for r in reports] == ["o0", "o3"]
    assert (book.void_orders, book.missing_orders) == (1, 1)


def test_a_cancel_of_a_finished_order_is_rejected_and_changes_no_total() -> None:
    reports = run(ordered((0, order(0, 0)), (10, cancel(1, "o0"))), ticks(quote(0), quote(6), quote(20)))
    assert statuses(reports) == ["filled", "cancel_rejected"]
    assert reports[-1].cumulative_quantity == 5.0


def test_an_order_older_than_what_is_remembered_is_rejected() -> None:
    config = VenueConfig(latency_ns=0, remembered_records=64)
    book = PaperBook(0, config, INSTRUMENTS)
    for market_record, message in ticks(*(quote(n) for n in range(200))):
        book.market(market_record, message)
    (report,) = book.orders(ordered((0, order(0, 5))))
    assert report.reason == "TOO_OLD: market record 5 is forgotten"


@pytest.mark.parametrize("orders_first", [True, False])
def test_an_order_on_a_record_that_retention_took_is_rejected_not_kept_for_ever(*, orders_first: bool) -> None:
    market = [ticked for ticked in ticks(*(quote(n) for n in range(5))) if ticked[0].offset not in {1, 2}]
    book, orders = PaperBook(0, CONFIG, INSTRUMENTS), ordered((0, order(0, 2)))
    reports = book.orders(orders) if orders_first else []
    reports += [report for ticked in market for report in book.market(*ticked)]
    reports += [] if orders_first else book.orders(orders)
    assert [report.reason for report in reports] == ["SOURCE: market record 2 is no tick of BTC"]
    assert book.open_orders == 0


def test_a_refused_order_is_rejected_with_what_the_venue_says() -> None:
    book = PaperBook(0, CONFIG, INSTRUMENTS, refusal=lambda _order: "trading is halted")
    (report,) = run(ordered((0, order(0, 0))), ticks(quote(0), quote(6)), book=book)
    assert (report.status, report.reason) == ("rejected", "TRADING_HALTED: trading is halted")


def test_after_a_restart_an_order_that_a_halt_turned_down_takes_nothing() -> None:
    halted = PaperBook(0, CONFIG, INSTRUMENTS, refusal=lambda _order: "trading is halted")
    before = run(ordered((0, order(0, 0, quantity=8.0))), ticks(quote(0)), book=halted)
    book = PaperBook(0, CONFIG, INSTRUMENTS)
    book.recall(before)
    reports = run(ordered((0, order(0, 0, quantity=8.0)), (0, order(1, 0))), ticks(quote(0), quote(6)), book=book)
    assert [(r.order_id, r.status.value) for r in reports] == [("o1", "filled")]
