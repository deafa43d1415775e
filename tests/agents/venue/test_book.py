"""The paper venue's book: what fills, at which price, and what is turned down. The rules: docs/paper-venue.md."""

from typing import Any

import pytest

from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from agents.venue.latency import latency_of
from agents.venue.tape import BarMatching
from messages import Bar, Claim, Observation
from messages.orders import Source
from tests.agents.venue.market import (
    CONFIG,
    INSTRUMENTS,
    MS,
    Ordered,
    Ticked,
    cancel,
    order,
    ordered,
    quote,
    record,
    run,
    statuses,
    ticks,
    trade,
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


@pytest.mark.parametrize("odd", [{"low": 106.0}, {"high": 104.0}, {"close": 0.5}, {"close": 1.0}])
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


def test_a_cancel_takes_effect_at_the_first_record_after_its_latency_and_a_fill_before_stands() -> None:
    gtc = order(0, 0, limit_price=99.0, time_in_force="GTC", quantity=8.0)
    market = ticks(
        quote(0), quote(6), quote(12, bid=90, ask=98, size=5), quote(16, bid=90, ask=95), quote(30, bid=90, ask=94)
    )
    reports = run(ordered((0, gtc), (10, cancel(1, "o0"))), market)
    assert statuses(reports) == ["new", "partially_filled", "canceled"]
    assert reports[-1].ts_event == 16 * MS
    assert reports[-1].cumulative_quantity == 5.0


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
