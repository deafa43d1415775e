"""Orders that rest at the paper venue: they wait for their turn, or for the price to go through theirs."""

import pytest

from agents.venue.config import VenueConfig
from tests.agents.venue.market import (
    MS,
    order,
    ordered,
    quote,
    record,
    run,
    statuses,
    ticks,
    trade,
)


def test_post_only_is_rejected_when_it_would_take() -> None:
    market = ticks(quote(0), quote(6))
    taking = order(0, 0, limit_price=101.0, time_in_force="GTX")
    resting = order(0, 0, limit_price=100.0, time_in_force="GTX")
    assert statuses(run(ordered((0, taking)), market)) == ["rejected"]
    assert statuses(run(ordered((0, resting)), market)) == ["new"]


def test_a_resting_order_fills_only_after_the_volume_ahead_has_traded() -> None:
    gtc = order(0, 0, limit_price=99.0, time_in_force="GTC")
    market = ticks(
        quote(0),
        quote(6, size=10),  # ten lots stand ahead at 99
        trade(7, 99, 8, aggressor="sell"),
        trade(8, 99, 8, aggressor="buy"),  # lifted an ask: says nothing of the bids
        trade(9, 99, 4, aggressor="sell"),  # two ahead, two for us
        trade(10, 98, 100, aggressor="sell"),  # through our price
    )
    reports = run(ordered((0, gtc)), market)
    assert statuses(reports) == ["new", "partially_filled", "filled"]
    assert [r.last_quantity for r in reports] == [None, 2.0, 3.0]
    assert [r.last_price for r in reports] == [None, 99.0, 99.0]
    assert {r.liquidity for r in reports[1:]} == {"maker"}
    assert reports[-1].cumulative_fee == pytest.approx(-5 * 99 * 0.0005)


def test_a_resting_order_fills_at_its_own_price_when_the_market_goes_through_not_when_it_touches() -> None:
    gtc = order(0, 0, limit_price=99.0, time_in_force="GTC")
    touched = ticks(quote(0), quote(6), quote(7, bid=98, ask=99))
    assert statuses(run(ordered((0, gtc)), touched)) == ["new"]
    through = ticks(quote(0), quote(6), quote(7, bid=90, ask=98, size=3))
    reports = run(ordered((0, gtc)), through)
    assert statuses(reports) == ["new", "partially_filled"]
    assert reports[-1].last_price == 99.0
    assert reports[-1].last_quantity == 3.0


def test_a_marketable_limit_takes_the_touch_and_rests_with_what_is_left_at_its_own_price() -> None:
    gtc = order(0, 0, limit_price=105.0, time_in_force="GTC", quantity=15.0)
    market = ticks(quote(0), quote(6, ask=101, size=10), quote(7, ask=101, size=12), quote(8, ask=103, size=2))
    reports = run(ordered((0, gtc)), market)
    assert [(r.last_quantity, r.last_price, r.liquidity) for r in reports] == [
        (10.0, 101.0, "taker"),
        (2.0, 105.0, "maker"),  # two more came to 101, and met our bid
        (2.0, 105.0, "maker"),
    ]


def test_less_shown_at_our_price_brings_us_no_further_only_trades_do() -> None:
    gtc = order(0, 0, limit_price=99.0, time_in_force="GTC")
    orders = ordered((0, gtc))
    shown = ticks(quote(0), quote(6, size=10), quote(7, size=1), quote(8, bid=98), quote(9, bid=99, size=3))
    told = [*shown, (record("market", 5, 10), trade(10, 99, 10, aggressor="sell"))]
    assert statuses(run(orders, told)) == ["new"]
    told.append((record("market", 6, 11), trade(11, 99, 1, aggressor="sell")))
    assert [r.last_quantity for r in run(orders, told)] == [None, 1.0]


def test_an_order_behind_the_touch_learns_what_stands_ahead_when_its_price_is_first_shown() -> None:
    deep = order(0, 0, limit_price=95.0, time_in_force="GTC")
    unseen = ticks(quote(0), quote(6), trade(7, 95, 50, aggressor="sell"))
    assert statuses(run(ordered((0, deep)), unseen)) == ["new"]
    seen = ticks(quote(0), quote(6), quote(7, bid=95, size=4), quote(8, bid=99), trade(9, 95, 6, aggressor="sell"))
    assert [r.last_quantity for r in run(ordered((0, deep)), seen)] == [None, 2.0]


def test_an_order_that_improves_the_touch_stands_alone() -> None:
    inside = order(0, 0, limit_price=100.0, time_in_force="GTC")
    market = ticks(quote(0), quote(6), trade(7, 100, 2, aggressor="sell"))
    assert [r.last_quantity for r in run(ordered((0, inside)), market)] == [None, 2.0]


def test_a_trade_without_aggressor_counts_only_when_it_goes_through() -> None:
    inside = order(0, 0, limit_price=100.0, time_in_force="GTC")
    market = ticks(quote(0), quote(6), trade(7, 100, 50), trade(8, 99, 1))
    assert [r.last_quantity for r in run(ordered((0, inside)), market)] == [None, 1.0]


def test_trades_told_right_after_the_quote_an_order_joined_at_went_to_others() -> None:
    config = VenueConfig(latency_ns=5 * MS, trade_lag_ns=10 * MS)
    inside = order(0, 0, limit_price=100.0, time_in_force="GTC")
    market = ticks(quote(0), quote(6), trade(15, 98, 50, aggressor="sell"), trade(16, 100, 1, aggressor="sell"))
    assert [r.last_quantity for r in run(ordered((0, inside)), market, config=config)] == [None, 1.0]


def test_two_resting_orders_share_a_trade_in_the_order_in_which_they_came() -> None:
    first, second = (order(seq, 0, limit_price=100.0, time_in_force="GTC") for seq in range(2))
    market = ticks(quote(0), quote(6), trade(7, 100, 7, aggressor="sell"), quote(8, bid=98, ask=99, size=2))
    reports = run(ordered((0, first), (0, second)), market)
    filled = [(r.order_id, r.last_quantity) for r in reports if r.last_quantity]
    assert filled == [("o0", 5.0), ("o1", 2.0), ("o1", 2.0)]


def test_our_own_orders_that_cross_do_not_meet() -> None:
    buy = order(0, 0, limit_price=100.0, time_in_force="GTC")
    sell = order(1, 0, limit_price=100.0, time_in_force="GTC", side="sell")
    reports = run(ordered((0, buy), (0, sell)), ticks(quote(0), quote(6), quote(7)))
    assert [(r.order_id, r.status.value) for r in reports] == [("o0", "new"), ("o1", "new")]
