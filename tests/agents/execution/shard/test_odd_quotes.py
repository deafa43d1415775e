"""Quotes locked, crossed, empty, negative, off the grid, repeated, out of order: docs/market-data.md holds."""

import re

import numpy as np

from agents.report.accounts import _Books
from agents.risk.limits.file import PortfolioLimits
from agents.risk.watch.portfolio import Portfolio
from agents.trainer.market import prepare, readable
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from bundles.features import Feature, FeatureSpec, Observer, TickRing
from messages import Bar, Order, Quote, Refused, decode, encode
from messages.orders import Source
from tests.agents.execution.shard.odd_quotes import FLAT, LONG, MS, PAGE, SHORT, Case, Wanting, by_name, desk_after
from tests.agents.execution.stepping import override
from tests.builders import (
    ONE_FEATURE,
    SECOND,
    START_NS,
    X,
    bundle,
    quote,
    ready_inputs,
    record,
    report,
    shard,
    step_of,
)


@by_name
def test_execution_reads_it_and_takes_it_as_reference_or_not(case: Case) -> None:
    target, logged = desk_after(case.quote)
    assert (logged.decisions[0].outcome.value != "refused") == case.is_read
    desk = target.desks["X"]
    touch = (X.ticks(case.quote.bid), X.ticks(case.quote.ask)) if case.is_reference else (None, None)
    assert (desk.bid_ticks, desk.ask_ticks) == touch
    assert [order.side for order in logged.orders if isinstance(order, Order)] == ["buy"] * case.is_reference
    if case.is_read and not case.is_reference:
        assert logged.decisions[0].outcome.value in {"denied", "hold", "warming-up"}


@by_name
def test_after_a_good_quote_the_reference_stays_unless_it_is_one(case: Case) -> None:
    target, _ = desk_after(quote(bid=98.0, ask=98.5), case.quote)
    desk = target.desks["X"]
    wanted = (case.quote.bid, case.quote.ask) if case.is_reference else (98.0, 98.5)
    assert (desk.bid_ticks, desk.ask_ticks) == tuple(X.ticks(price) for price in wanted)


@by_name
def test_risk_and_report_mark_at_it_where_execution_does(case: Case) -> None:
    try:
        message = decode("market", encode(case.quote))
    except Refused:
        assert not case.is_read
        return
    assert isinstance(message, Quote)
    portfolio = Portfolio({"X": X}, PortfolioLimits(), cash=0.0)
    assert portfolio.apply_tick(message, 0) == case.is_reference
    books = _Books({"X": X}, 0.0)
    books.tick(message, 0)
    assert (len(books.close().mids["X"][0]) == 1) == case.is_reference


def order(side: str, offset: int = 0) -> Order:
    return Order(
        order_id=f"{side}-{offset}",
        seq=0,
        epoch=0,
        instrument="X",
        side="buy" if side == "buy" else "sell",
        quantity=1.0,
        order_type="market",
        time_in_force="IOC",
        strategy="s",
        bundle_id="b",
        source=Source(topic="market", partition=0, offset=offset),
        ts_decided=START_NS,
    )


def dealt(side: str, after: Quote) -> bool:
    """Whether an order decided on a good quote deals on the next one at the paper venue."""
    book = PaperBook(0, VenueConfig(latency_ns=0), {"X": X})
    book.market(record(quote(), 0), quote())
    at_ns = START_NS + SECOND
    try:
        read = decode("market", encode(after))
    except Refused:
        read = None
    book.orders([(record(order(side), 0, topic="orders"), order(side))])
    reports = book.market(record(after, 1, at_ns=at_ns), read if isinstance(read, Quote) else None)
    return any(answer.cumulative_quantity > 0 for answer in reports)


@by_name
def test_the_paper_venue_deals_on_it_where_it_shows_a_price_and_volume(case: Case) -> None:
    assert (dealt("buy", case.quote), dealt("sell", case.quote)) == (case.can_buy, case.can_sell)


@by_name
def test_training_deals_on_it_where_the_paper_venue_does(case: Case) -> None:
    ring = TickRing()
    ring.push(quote())
    ring.push(case.quote)
    try:
        decode("market", encode(case.quote))
    except Refused:
        assert not case.is_read  # nobody gets it, the trainer neither
        return
    market = prepare(readable(ring.rows(), X), X, Observer(ONE_FEATURE), 0)
    is_usable = len(market.mid) == 2
    assert is_usable == case.is_reference
    assert (is_usable and bool(market.has_ask[-1])) == case.can_buy
    assert (is_usable and bool(market.has_bid[-1])) == case.can_sell


@by_name
def test_features_keep_the_last_good_price(case: Case) -> None:
    observer, out = Observer(ONE_FEATURE), np.empty(1, np.float32)
    ring = TickRing()
    ring.push(quote(bid=98.0, ask=98.5))
    ring.push(case.quote)
    assert observer.observe(ring, out, 0.0, 0.0, 0)
    bid, ask = (case.quote.bid, case.quote.ask) if 0 < case.quote.bid <= case.quote.ask else (98.0, 98.5)
    spread = (ask - bid) / ((ask + bid) / 2)
    assert out[0] == np.float32(spread / (spread + 1e-4))


def test_a_crossed_market_lets_the_reference_grow_old() -> None:
    late_ns = START_NS + 6 * SECOND
    market = [record(quote(bid=101.0, ask=100.0), 1, at_ns=late_ns)]
    target = shard(bundle(Wanting(FLAT)))
    first = [record(quote(), 0)]
    target.step(step_of(target, first, *ready_inputs()), first, [])
    logged = target.step(step_of(target, market, override(9, 3.0), at_ns=late_ns), market, [])
    assert [str(decision.denial) for decision in logged.decisions] == ["STALE_REFERENCE limit=5000 resulting=6000"]


def test_a_jump_denies_entries_until_the_period_is_over_and_lets_exits_pass() -> None:
    target = shard(bundle(Wanting(LONG, SHORT, FLAT)))
    market = [record(quote(), 0)]
    (entry,) = target.step(step_of(target, market, *ready_inputs()), market, []).orders
    assert isinstance(entry, Order)
    filled = [record(report(entry), 0, topic="reports")]
    market = [record(quote(bid=200.0, ask=200.5), 1), record(quote(bid=200.0, ask=200.5), 2)]
    logged = target.step(step_of(target, market, reports=filled), market, filled)
    assert [str(decision.denial)[:19] for decision in logged.decisions] == ["PRICE_COLLAR_PERIOD", "None"]
    assert [order.side for order in logged.orders if isinstance(order, Order)] == ["sell"]


def test_a_repeated_quote_renews_the_reference_and_sends_nothing_more() -> None:
    target, first = desk_after(quote(), quote(), quote())
    assert [decision.outcome.value for decision in first.decisions] == ["order", "hold", "hold"]
    later_ns = START_NS + 4 * SECOND
    market = [record(quote(), 3, at_ns=later_ns)]
    assert target.step(step_of(target, market, at_ns=later_ns), market, []).orders == ()
    assert target.desks["X"].reference_ns == later_ns


def test_a_late_record_is_not_decided_and_moves_the_reference() -> None:
    target, _ = desk_after(quote(bid=98.0, ask=98.5))
    now_ns = START_NS + 3 * SECOND
    market = [record(quote(bid=99.0, ask=99.5), 1, at_ns=START_NS)]
    logged = target.step(step_of(target, market, at_ns=now_ns), market, [])
    assert [decision.outcome.value for decision in logged.decisions] == ["stale"]
    assert target.desks["X"].bid_ticks == 198


def test_ts_recv_alone_makes_no_record_late() -> None:
    _, logged = desk_after(quote(ts_recv=START_NS), quote(ts_recv=0))
    assert [decision.outcome.value for decision in logged.decisions] == ["order", "hold"]


def test_features_count_time_that_runs_backwards_as_none() -> None:
    spec = FeatureSpec(features=(Feature(name="rate", params={"events": 1}), Feature(name="held")))
    observer, out, ring = Observer(spec), np.empty(2, np.float32), TickRing()
    ring.push(quote(ts_recv=START_NS))
    ring.push(quote(ts_recv=START_NS - SECOND))
    assert observer.observe(ring, out, 0.0, 0.0, 0)
    assert out.tolist() == [1.0, 0.0]


def test_features_of_a_locked_quote_and_of_sizes_of_zero() -> None:
    spec = FeatureSpec(features=(Feature(name="spread"), Feature(name="queue_imbalance", params={"events": 1})))
    observer, out, ring = Observer(spec), np.empty(2, np.float32), TickRing()
    ring.push(quote())
    ring.push(quote(bid=100.0, ask=100.0, size=0.0))
    assert observer.observe(ring, out, 0.0, 0.0, 0)
    assert out.tolist() == [0.0, 0.0]


def test_the_paper_venue_passes_over_a_quote_from_before_the_order() -> None:
    book = PaperBook(0, VenueConfig(latency_ns=10 * MS), {"X": X})
    book.market(record(quote(), 0), quote())
    book.orders([(record(order("buy"), 0, topic="orders"), order("buy"))])
    early = quote(bid=90.0, ask=90.5, ts_recv=START_NS - SECOND)
    assert book.market(record(early, 1), early) == []
    due = quote(bid=95.0, ask=95.5, ts_recv=START_NS + 10 * MS)
    assert [answer.last_price for answer in book.market(record(due, 2), due)] == [95.5]


def test_beside_quotes_a_bar_is_a_reference_and_no_price_of_a_feature() -> None:
    bar = Bar(instrument="X", ts_recv=START_NS, open=98.0, high=98.0, low=98.0, close=98.0, volume=1.0)
    target, _ = desk_after(quote(), bar)
    assert (target.desks["X"].bid_ticks, target.desks["X"].ask_ticks) == (196, 196)
    observer, out, ring = Observer(ONE_FEATURE), np.empty(1, np.float32), TickRing()
    ring.push(quote())
    ring.push(bar)
    assert observer.observe(ring, out, 0.0, 0.0, 0)
    assert out[0] > 0
    assert len(prepare(ring.rows(), X, observer, 0).mid) == 1


def test_a_quote_that_is_not_good_does_not_count_for_decide_every() -> None:
    target = shard(bundle(Wanting(LONG), decide_every=2))
    market = [record(message, n) for n, message in enumerate([quote(), quote(bid=101.0, ask=100.0), quote()])]
    logged = target.step(step_of(target, market, *ready_inputs()), market, [])
    assert [decision.outcome.value for decision in logged.decisions] == ["hold", "hold", "order"]


def test_the_page_feeds_what_the_schema_reads() -> None:
    lines = re.findall(r'^(\{"type".*\})$', PAGE, re.MULTILINE)
    assert {type(decode("market", line.encode())).__name__ for line in lines} == {
        "Quote",
        "Trade",
        "Bar",
        "Observation",
    }
    assert "-X partitioner=murmur2_random" in PAGE
