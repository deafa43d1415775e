"""Reduce-only orders at the paper venue: no more than the position, whoever is late."""

import pytest

from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from tests.agents.venue.market import (
    CONFIG,
    INSTRUMENTS,
    order,
    ordered,
    quote,
    run,
    ticks,
    trade,
)


def held(book: PaperBook, lots: int) -> PaperBook:
    book.positions.adjust("BTC", lots)
    return book


@pytest.mark.parametrize(
    ("position", "side", "force", "expected"),
    [
        (0, "sell", "IOC", [("rejected", 0.0, "REDUCE_ONLY")]),
        (3, "buy", "IOC", [("rejected", 0.0, "REDUCE_ONLY")]),
        (-3, "sell", "IOC", [("rejected", 0.0, "REDUCE_ONLY")]),
        (3, "sell", "IOC", [("partially_filled", 3.0, None), ("expired", 3.0, "NO_MORE_AT_ONCE")]),
        (-3, "buy", "IOC", [("partially_filled", 3.0, None), ("expired", 3.0, "NO_MORE_AT_ONCE")]),
        (9, "sell", "IOC", [("filled", 5.0, None)]),
        (3, "sell", "FOK", [("expired", 0.0, "FILL_OR_KILL: 3 of 5 lots")]),
        (9, "sell", "FOK", [("filled", 5.0, None)]),
    ],
)
def test_a_reduce_only_order_takes_no_more_than_the_position(
    position: int, side: str, force: str, expected: list[tuple[str, float, str | None]]
) -> None:
    exit_order = order(0, 0, side=side, reduce_only=True, time_in_force=force)
    book = held(PaperBook(0, CONFIG, INSTRUMENTS), position)
    reports = run(ordered((0, exit_order)), ticks(quote(0), quote(6)), book=book)
    assert [(r.status.value, r.cumulative_quantity, r.reason) for r in reports] == expected


def test_a_reduce_only_order_counts_what_the_orders_before_it_filled() -> None:
    orders = ordered(
        (0, order(0, 0, quantity=4.0)),
        (0, order(1, 0, side="sell", reduce_only=True, quantity=3.0)),
        (0, order(2, 0, side="sell", reduce_only=True, quantity=3.0)),
        (0, order(3, 0, side="sell", reduce_only=True, quantity=3.0)),
    )
    filled = {r.order_id: r.cumulative_quantity for r in run(orders, ticks(quote(0), quote(6)))}
    assert filled == {"o0": 4.0, "o1": 3.0, "o2": 1.0, "o3": 0.0}


def test_a_late_reduce_only_order_does_not_see_what_was_filled_after_its_time() -> None:
    entry = order(0, 0, limit_price=100.0, time_in_force="GTC")
    leave = order(1, 1, side="sell", reduce_only=True)
    market = ticks(quote(0), quote(6), quote(12), trade(20, 99, 50, aggressor="sell"))
    in_time = run(ordered((0, entry), (6, leave)), market)
    assert [r.reason for r in in_time if r.order_id == "o1"] == ["REDUCE_ONLY"]
    book = PaperBook(0, CONFIG, INSTRUMENTS)
    claim, first, second = ordered((0, entry), (6, leave))
    reports = run([claim, first], market, book=book) + book.orders([second])
    assert [r.status.value for r in reports] == ["new", "filled", "rejected"]


def test_after_a_restart_the_position_is_what_the_reports_say_of_forgotten_orders() -> None:
    config = VenueConfig(latency_ns=0, remembered_records=64)
    entry, leave = order(0, 0), order(1, 298, side="sell", reduce_only=True, quantity=9.0)
    market = ticks(*(quote(n) for n in range(300)))
    orders = ordered((0, entry), (298, leave))
    before = run(orders[:2], market, config=config)
    book = PaperBook(0, config, INSTRUMENTS)
    book.recall(before)
    book.tape.start_at(200)
    derived = run(orders, market[200:], book=book)
    assert [r.reason for r in derived if r.order_id == "o0"] == ["TOO_OLD: market record 0 is forgotten"]
    assert [r.cumulative_quantity for r in derived if r.order_id == "o1"] == [5.0, 5.0]


def test_after_retention_took_reports_a_reduce_only_order_is_taken_at_its_word() -> None:
    book = PaperBook(0, CONFIG, INSTRUMENTS)
    book.recall([], is_complete=False)
    (report,) = run(ordered((0, order(0, 0, side="sell", reduce_only=True))), ticks(quote(0), quote(6)), book=book)
    assert report.status == "filled"
