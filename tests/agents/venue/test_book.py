"""The paper venue's book: what takes, what cancels do, what bars are worth. The rules: docs/paper-venue.md."""

from typing import Any

import pytest

from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from agents.venue.latency import latency_of
from agents.venue.tape import BarMatching
from messages import Bar, Observation
from tests.agents.venue.market import (
    CONFIG,
    INSTRUMENTS,
    MS,
    Ticked,
    cancel,
    order,
    ordered,
    quote,
    record,
    run,
    statuses,
    ticks,
)


def test_a_market_order_gets_the_first_quote_at_or_after_its_latency_never_the_one_it_was_decided_on() -> None:
    market = ticks(quote(0, ask=101), quote(4, ask=102), quote(5, ask=103), quote(9, ask=50, bid=40))
    (report,) = run(ordered((0, order(0, 0))), market)
    assert (report.status, report.last_price, report.cumulative_quantity) == ("filled", 103.0, 5.0)
    assert (report.ts_event, report.liquidity, report.order.offset) == (5 * MS, "taker", 1)
    assert report.cumulative_fee == pytest.approx(5 * 103 * 0.001)


def test_displayed_size_is_honoured_and_the_rest_expires() -> None:
    reports = run(ordered((0, order(0, 0, quantity=25.0))), ticks(quote(0), quote(6, size=10)))
    assert statuses(reports) == ["partially_filled", "expired"]
    assert [r.report_seq for r in reports] == [0, 1]
    assert (reports[1].cumulative_quantity, reports[1].leaves_quantity) == (10.0, 0.0)


def test_two_orders_share_what_is_displayed_and_it_stays_taken_while_the_price_stands() -> None:
    orders = ordered((0, order(0, 0, quantity=6.0)), (0, order(1, 0, quantity=6.0)), (0, order(2, 1, quantity=6.0)))
    reports = run(orders, ticks(quote(0), quote(6), quote(20), quote(30, ask=102)))
    filled = {r.order_id: r.cumulative_quantity for r in reports}
    assert filled == {"o0": 6.0, "o1": 4.0, "o2": 0.0}


def test_what_was_sold_to_a_bid_stays_taken_while_its_price_stands() -> None:
    orders = ordered(*((0, order(seq, at, side="sell", quantity=6.0)) for seq, at in enumerate((0, 0, 1))))
    reports = run(orders, ticks(quote(0), quote(6), quote(20, ask=105), quote(30, bid=98)))
    assert {r.order_id: r.cumulative_quantity for r in reports} == {"o0": 6.0, "o1": 4.0, "o2": 0.0}


def test_an_order_never_overtakes_the_one_before_it() -> None:
    config = VenueConfig(latency_quantiles_ns=(0, 100 * MS))
    latency = latency_of(config)
    slow = next(f"o{n}" for n in range(100) if latency.of(f"o{n}") > 50 * MS)
    fast = next(f"o{n}" for n in range(100) if latency.of(f"o{n}") < 20 * MS)
    orders = ordered((0, order(0, 0, order_id=slow)), (0, order(1, 0, order_id=fast)))
    reports = run(orders, ticks(quote(0), quote(30, ask=105), quote(100, ask=110)), config=config)
    assert [(r.order_id, r.last_price) for r in reports] == [(slow, 110.0), (fast, 110.0)]
    cancelled = [*ordered((0, order(0, 0, order_id=slow)), (0, order(1, 0, order_id=fast)), (0, cancel(2, slow)))]
    lost = run(cancelled, ticks(quote(0), *(quote(at, ask=105) for at in range(10, 200, 10))), config=config)
    assert {r.order_id: r.status.value for r in lost}[fast] == "filled"


@pytest.mark.parametrize(("size", "expected"), [(4.0, ["expired"]), (5.0, ["filled"])])
def test_fill_or_kill_is_all_or_nothing(size: float, expected: list[str]) -> None:
    fok = order(0, 0, time_in_force="FOK")
    assert statuses(run(ordered((0, fok)), ticks(quote(0), quote(6, size=size)))) == expected


def test_a_limit_that_is_not_reached_expires_at_once_as_ioc_and_rests_as_gtc() -> None:
    market = ticks(quote(0), quote(6))
    assert statuses(run(ordered((0, order(0, 0, limit_price=100.0))), market)) == ["expired"]
    gtc = order(0, 0, limit_price=100.0, time_in_force="GTC")
    assert statuses(run(ordered((0, gtc)), market)) == ["new"]


def test_nobody_deals_on_crossed_empty_or_off_grid_quotes() -> None:
    market = ticks(quote(0), quote(6, bid=105, ask=95), quote(7, bid=0, ask=1), quote(8, ask=100.5), quote(9, ask=110))
    (report,) = run(ordered((0, order(0, 0))), market)
    assert report.last_price == 110.0


def test_bars_are_dealt_on_at_their_close_with_spread_and_a_share_of_the_volume() -> None:
    bars: list[Ticked] = [
        (
            record("market", n, n),
            Bar(instrument="BTC", ts_recv=n * 60_000 * MS, open=100, high=110, low=90, close=105, volume=30),
        )
        for n in range(2)
    ]
    reports = run(ordered((0, order(0, 0))), bars)
    assert [(r.status.value, r.last_price, r.cumulative_quantity) for r in reports] == [
        ("partially_filled", 106.0, 3.0),
        ("expired", None, 3.0),
    ]


def bar(at_minute: int, **changes: Any) -> Bar:
    fields: dict[str, Any] = {"open": 100, "high": 110, "low": 90, "close": 105, "volume": 30}
    return Bar(instrument="BTC", ts_recv=at_minute * 60_000 * MS, **(fields | changes))


def minutes(*messages: Any) -> list[Ticked]:
    return [(record("market", n, n * 60_000), message) for n, message in enumerate(messages)]


def test_a_bar_is_dealt_on_once_whether_by_its_close_or_its_range() -> None:
    config = VenueConfig(latency_ns=5 * MS, bars=BarMatching(volume_share=0.1, half_spread_ticks=1))
    gtc = order(0, 0, limit_price=107.0, time_in_force="GTC", quantity=20.0)
    market = minutes(bar(0), bar(1), bar(2, low=100, volume=50))  # 3 lots, then 5
    reports = run(ordered((0, gtc)), market, config=config)
    assert [(r.last_quantity, r.last_price) for r in reports] == [(3.0, 106.0), (5.0, 107.0)]


@pytest.mark.parametrize("odd", [{"low": 106.0}, {"high": 104.0}, {"close": 105.5}, {"low": 1, "close": 1}])
def test_a_bar_that_contradicts_itself_or_lies_off_the_grid_is_not_dealt_on(odd: dict[str, float]) -> None:
    reports = run(ordered((0, order(0, 0))), minutes(bar(0), bar(1, **odd), bar(2)))
    assert reports[0].ts_event == 120_000 * MS


def test_bars_of_an_instrument_with_quotes_are_passed_over() -> None:
    market = minutes(quote(0), bar(1), quote(120_000, ask=200))
    (report,) = run(ordered((0, order(0, 0))), market)
    assert (report.last_price, report.status) == (200.0, "filled")


def test_an_observation_can_be_a_source_and_lets_cancels_take_effect() -> None:
    seen = [Observation(instrument="BTC", ts_recv=at * MS, values=(1.0,)) for at in (0, 20)]
    reports = run(
        ordered((0, order(0, 0)), (1, cancel(1, "o0"))), [*ticks(seen[0]), (record("market", 1, 20), seen[1])]
    )
    assert [(r.status.value, r.ts_event) for r in reports] == [("canceled", 20 * MS)]


def test_the_average_price_is_the_nearest_number_to_the_exact_one() -> None:
    gtc = order(0, 0, limit_price=10.2, time_in_force="GTC", quantity=3.0, instrument="ETH")
    at = [quote(0, bid=9.9, ask=10.0, instrument="ETH"), quote(6, bid=9.9, ask=10.1, size=1, instrument="ETH")]
    reports = run(ordered((0, gtc)), ticks(*at, quote(7, bid=9.9, ask=10.0, size=2, instrument="ETH")))
    assert reports[-1].average_price == (101 + 102 + 102) / 30


def test_a_cancel_takes_effect_at_the_first_record_after_its_latency_and_a_fill_before_stands() -> None:
    gtc = order(0, 0, limit_price=99.0, time_in_force="GTC", quantity=8.0)
    market = ticks(
        quote(0), quote(6), quote(12, bid=90, ask=98, size=5), quote(16, bid=90, ask=95), quote(30, bid=90, ask=94)
    )
    reports = run(ordered((0, gtc), (10, cancel(1, "o0"))), market)
    assert statuses(reports) == ["new", "partially_filled", "canceled"]
    assert reports[-1].ts_event == 16 * MS
    assert reports[-1].cumulative_quantity == 5.0


def test_a_cancel_that_is_read_too_late_leaves_the_fills_that_were_reported() -> None:
    gtc = order(0, 0, limit_price=99.0, time_in_force="GTC", quantity=8.0)
    market = ticks(quote(0), quote(6), quote(12), quote(20, bid=90, ask=98, size=5), quote(30, bid=90, ask=100))
    book = PaperBook(0, CONFIG, INSTRUMENTS)
    claim, first, late = ordered((0, gtc), (2, cancel(1, "o0")))  # due at 12 ms
    reports = run([claim, first], market, book=book) + book.orders([late])
    assert [(r.status.value, r.ts_event // MS, r.cumulative_quantity) for r in reports] == [
        ("new", 6, 0.0),
        ("partially_filled", 20, 5.0),
        ("canceled", 20, 5.0),
    ]
