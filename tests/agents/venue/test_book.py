"""The paper venue's book: conservative fills, and reports that don't depend on who lags."""

from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from messages import Bar, Cancel, Claim, ExecutionReport, Order, Quote, Trade
from messages.orders import OrderMessage, Source
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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"instrument": "DOGE"}, "unknown instrument"),
        ({"quantity": 0.5}, "quantity 0.5"),
        ({"limit_price": 100.5}, "price 100.5"),
        ({"limit_price": None, "order_type": "limit"}, "limit price"),
        ({"source": Source(topic="market", partition=3, offset=0)}, "not this partition"),
        ({"instrument": "ETH"}, "no tick of ETH"),
    ],
)
def test_what_cannot_be_judged_is_rejected_with_the_reason(changes: dict[str, object], says: str) -> None:
    (report,) = run(ordered((0, order(0, 0, **changes))), ticks(quote(0), quote(6)))
    assert report.status == "rejected"
    assert report.reason is not None
    assert says in report.reason


def test_an_order_that_was_sent_long_after_its_decision_is_rejected() -> None:
    (report,) = run(ordered((5_001, order(0, 0))), ticks(quote(0), quote(6)))
    assert "5001 ms" in (report.reason or "")


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
    assert "too old" in (report.reason or "")


@pytest.mark.parametrize("orders_first", [True, False])
def test_an_order_on_a_record_that_retention_took_is_rejected_not_kept_for_ever(*, orders_first: bool) -> None:
    market = [ticked for ticked in ticks(*(quote(n) for n in range(5))) if ticked[0].offset not in {1, 2}]
    book, orders = PaperBook(0, CONFIG, INSTRUMENTS), ordered((0, order(0, 2)))
    reports = book.orders(orders) if orders_first else []
    reports += [report for ticked in market for report in book.market(*ticked)]
    reports += [] if orders_first else book.orders(orders)
    assert [report.reason for report in reports] == ["market record 2 is no tick of BTC"]
    assert book.open_orders == 0


def test_a_refused_order_is_rejected_with_what_the_venue_says() -> None:
    book = PaperBook(0, CONFIG, INSTRUMENTS, refusal=lambda _order: "trading is halted")
    (report,) = run(ordered((0, order(0, 0))), ticks(quote(0), quote(6)), book=book)
    assert (report.status, report.reason) == ("rejected", "trading is halted")


# Whatever the market and the orders, and whoever lags.


@st.composite
def markets(draw: st.DrawFn) -> list[Ticked]:
    messages: list[Quote | Trade] = []
    now_ms = 0
    for _ in range(draw(st.integers(5, 25))):
        now_ms += draw(st.integers(0, 4))
        name = draw(st.sampled_from(["BTC", "BTC", "BTC", "ETH"]))
        if draw(st.integers(0, 2)):
            bid = draw(st.integers(97, 102))
            ask = bid + draw(st.integers(-1, 3))
            messages.append(quote(now_ms, bid=bid, ask=ask, size=draw(st.integers(0, 6)), instrument=name))
        else:
            side = draw(st.sampled_from(["buy", "sell", None]))
            price, size = draw(st.integers(97, 103)), draw(st.integers(1, 8))
            messages.append(trade(now_ms, price, size, aggressor=side, instrument=name))
    return ticks(*messages)


@st.composite
def scripts(draw: st.DrawFn) -> tuple[list[Ticked], list[Ordered]]:
    """A market and orders of one owner: sources never go back, records come when their source does."""
    market = draw(markets())
    sources = sorted(draw(st.lists(st.integers(0, len(market) - 1), min_size=1, max_size=8)))
    messages: list[tuple[int, Order | Cancel]] = []
    for seq, source in enumerate(sources):
        source_record, message = market[source]
        earlier = [m.order_id for _, m in messages if isinstance(m, Order)]
        if earlier and draw(st.integers(0, 3)) == 0:
            messages.append((source_record.timestamp_ms, cancel(seq, draw(st.sampled_from(earlier)))))
            continue
        changes: dict[str, object] = {
            "instrument": message.instrument,
            "side": draw(st.sampled_from(["buy", "sell"])),
            "quantity": float(draw(st.integers(1, 9))),
            "time_in_force": draw(st.sampled_from(["IOC", "FOK", "GTC", "GTX"])),
        }
        if changes["time_in_force"] in {"GTC", "GTX"} or draw(st.booleans()):
            changes["limit_price"] = float(draw(st.integers(97, 103)))
        ts_decided = source_record.timestamp_ms * MS
        messages.append((source_record.timestamp_ms, order(seq, source, ts_decided=ts_decided, **changes)))
    return market, ordered(*messages)


def by_order(reports: Sequence[ExecutionReport]) -> dict[str, list[ExecutionReport]]:
    grouped: dict[str, list[ExecutionReport]] = defaultdict(list)
    for report in reports:
        grouped[report.order_id].append(report)
    return dict(grouped)


def run_in_time(market: Sequence[Ticked], orders: Sequence[Ordered]) -> list[ExecutionReport]:
    """Each order is read right after its source, as on a clock that waits."""
    book = PaperBook(0, CONFIG, INSTRUMENTS)
    reports, left = [], list(orders)
    for market_record, message in market:
        reports += book.market(market_record, message)
        while left and _comes_by(left[0], market_record.timestamp_ms, market_record.offset):
            reports += book.orders([left.pop(0)])
    return reports + book.orders(left)


def _comes_by(entry: tuple[object, OrderMessage], now_ms: int, offset: int) -> bool:
    message = entry[1]
    if isinstance(message, Order):
        return message.source.offset <= offset
    return isinstance(message, Claim) or entry[0].timestamp_ms <= now_ms  # type: ignore[attr-defined]


@settings(max_examples=150, deadline=None)
@given(scripts())
def test_reports_are_the_same_however_the_venue_lags(script: tuple[list[Ticked], list[Ordered]]) -> None:
    market, orders = script
    early = by_order(run(orders, market))
    assert by_order(run_in_time(market, orders)) == early
    late = PaperBook(0, CONFIG, INSTRUMENTS)
    first = [report for entry in market for report in late.market(*entry)]
    assert first == []
    assert by_order(late.orders(orders)) == early


@settings(max_examples=100, deadline=None)
@given(scripts(), st.integers(0, 25), st.integers(0, 8))
def test_without_cancels_any_interleaving_gives_the_same_reports(
    script: tuple[list[Ticked], list[Ordered]], market_first: int, orders_first: int
) -> None:
    market, orders = script
    orders = [entry for entry in orders if not isinstance(entry[1], Cancel)]
    book = PaperBook(0, CONFIG, INSTRUMENTS)
    reports = [report for entry in market[:market_first] for report in book.market(*entry)]
    for ordered_entry in orders[:orders_first]:
        reports += book.orders([ordered_entry])
    for ticked in market[market_first:]:
        reports += book.market(*ticked)
    for ordered_entry in orders[orders_first:]:
        reports += book.orders([ordered_entry])
    assert by_order(reports) == by_order(run(orders, market))


def price_there(message: object, side: str) -> float:
    if isinstance(message, Trade):
        return message.price
    assert isinstance(message, Quote)
    return message.ask if side == "buy" else message.bid


def size_there(message: object, side: str) -> float:
    if isinstance(message, Trade):
        return message.size
    assert isinstance(message, Quote)
    return message.ask_size if side == "buy" else message.bid_size


@settings(max_examples=150, deadline=None)
@given(scripts())
def test_no_fill_is_better_than_the_market_and_none_larger_than_what_was_there(
    script: tuple[list[Ticked], list[Ordered]],
) -> None:
    market, orders = script
    sent = {m.order_id: m for _, m in orders if isinstance(m, Order)}
    taken: dict[tuple[int, str, str], float] = defaultdict(float)
    for report in run(orders, market):
        if report.last_quantity is None or report.last_price is None:
            continue
        asked = sent[report.order_id]
        sign = 1 if asked.side == "buy" else -1
        at = [
            (r.offset, m)
            for r, m in market
            if m.ts_recv == report.ts_event and m.instrument == asked.instrument and r.offset > asked.source.offset
        ]
        assert at, "a fill needs a market record of its time, past its source"
        best = [price_there(m, asked.side) for _, m in at]
        # A buyer never pays less than the cheapest that was there, a seller never gets more than the dearest.
        assert sign * report.last_price >= min(sign * price for price in best)
        if asked.limit_price is not None:
            assert sign * report.last_price <= sign * asked.limit_price
        taken[report.ts_event, asked.instrument, asked.side] += report.last_quantity
    for (ts_event, name, side), lots in taken.items():
        there = sum(size_there(m, side) for _, m in market if m.ts_recv == ts_event and m.instrument == name)
        assert lots <= there


@settings(max_examples=100, deadline=None)
@given(scripts())
def test_each_order_gets_one_final_report_and_totals_that_add_up(
    script: tuple[list[Ticked], list[Ordered]],
) -> None:
    market, orders = script
    for reports in by_order(run(orders, market)).values():
        assert [r.report_seq for r in reports] == list(range(len(reports)))
        assert sum(r.status.is_final for r in reports) <= 1
        assert reports[-1].cumulative_quantity == sum(r.last_quantity or 0 for r in reports)
        assert len({r.exec_id for r in reports}) == len(reports)
