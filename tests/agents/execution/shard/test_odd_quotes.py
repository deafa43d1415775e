"""Quotes locked, crossed, empty, negative, off the grid, repeated, out of order: docs/market-data.md holds."""

import itertools
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.execution.shard import Shard
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import ShardConfig
from agents.feed.instruments import FeesConfig, infer_instruments
from agents.feed.tabular import TabularSource
from agents.report.accounts import _Books
from agents.risk.limits.file import Limits, PortfolioLimits
from agents.risk.watch.portfolio import Portfolio
from agents.trainer.market import prepare, readable
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from bundles.features import Feature, FeatureSpec, Floats32, Observer, TickRing
from messages import Bar, LoggedStep, Order, Quote, Record, Refused, Trade, decode, encode
from messages.orders import Source
from tests.agents.execution.stepping import override
from tests.builders import (
    ONE_FEATURE,
    SECOND,
    START_NS,
    X,
    bundle,
    data_dir,
    quote,
    ready_inputs,
    record,
    report,
    shard,
    step_of,
)

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "market-data.md").read_text()
MS = 1_000_000
SPEC = FeatureSpec(
    features=(
        Feature(name="spread"),
        Feature(name="queue_imbalance", params={"events": 2}),
        Feature(name="volatility", params={"events": 2}),
        Feature(name="rate", params={"events": 2}),
        Feature(name="position"),
        Feature(name="unrealized"),
    )
)


class Case(msgspec.Struct, frozen=True):
    """A row of the page's table."""

    name: str
    quote: Quote
    is_read: bool
    is_reference: bool
    can_buy: bool
    can_sell: bool


def cases() -> list[Case]:
    table = PAGE[PAGE.index("| quote | bid |") :].split("\n\n")[0].splitlines()[2:]
    found = []
    for line in table:
        name, bid, bid_size, ask, ask_size, *flags = [cell.strip() for cell in line.strip("|").split("|")]
        assert set(flags) <= {"yes", "no"}
        odd = Quote(
            instrument="X",
            ts_recv=START_NS + SECOND,
            bid=float(bid),
            bid_size=float(bid_size),
            ask=float(ask),
            ask_size=float(ask_size),
        )
        found.append(Case(name, odd, *[flag == "yes" for flag in flags]))
    return found


CASES = cases()
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Wanting:
    """A policy that wants this level, whatever it sees; what it sees is finite."""

    def __init__(self, *levels: float) -> None:
        self._levels = itertools.cycle(levels)

    def act(self, observation: Floats32) -> tuple[float, ...]:
        assert np.isfinite(observation).all()
        return (next(self._levels),)

    def act_batch(self, observations: Any) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


LONG, FLAT, SHORT = 2.0, 1.0, 0.0


def desk_after(*messages: Any, limits: dict[str, Any] | None = None) -> tuple[Shard, LoggedStep]:
    target = shard(bundle(Wanting(LONG)), limits=limits)
    market = [record(message, offset) for offset, message in enumerate(messages)]
    return target, target.step(step_of(target, market, *ready_inputs()), market, [])


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


PRICES = st.integers(190, 210).map(lambda ticks: ticks * X.price_step)
SIZES = st.sampled_from([0.0, 0.5, 1.0, 5.0, 1e9])
ODD = st.one_of(
    st.sampled_from([case.quote for case in CASES]),
    st.builds(lambda bid, ask, size: quote(bid=bid, ask=ask, size=size), PRICES, PRICES, SIZES),
)
GOOD = st.builds(lambda bid, spread: quote(bid=bid, ask=bid + spread * X.price_step), PRICES, st.integers(0, 4))
TRADES = st.builds(lambda price: Trade(instrument="X", ts_recv=START_NS, price=price, size=1.0), PRICES)
STREAMS = st.lists(
    st.tuples(
        st.one_of(GOOD, ODD, ODD, TRADES),
        st.integers(-3 * SECOND, 3 * SECOND),  # how ts_recv moves: back, too
        st.sampled_from([0, 1, 50, 2_000, 7_000]),  # ms between records
        st.booleans(),  # the step ends here
        st.booleans(),  # its orders are filled
    ),
    min_size=1,
    max_size=40,
)


def play(
    stream: list[tuple[Any, int, int, bool, bool]], target: Shard, *, order_type: str
) -> list[tuple[LoggedStep, list[Record], list[Record]]]:
    """Run a stream through a shard; return its steps and what they read."""
    steps, market, reports = [], list[Record](), list[Record]()
    at_ns, ts_recv = START_NS, START_NS + 1_000 * SECOND
    inputs = ready_inputs()
    for offset, (message, moved_ns, waited_ms, is_end, is_filled) in enumerate(stream):
        at_ns, ts_recv = at_ns + waited_ms * MS, ts_recv + moved_ns
        market.append(record(msgspec.structs.replace(message, ts_recv=ts_recv), offset, at_ns=at_ns))
        if not is_end and offset + 1 < len(stream):
            continue
        logged = target.step(step_of(target, market, *inputs, reports=reports, at_ns=at_ns), market, reports)
        steps.append((logged, market, reports))
        sent = [order for order in logged.orders if isinstance(order, Order)]
        assert all(order.order_type == order_type for order in sent)
        base = target.reports_to
        reports = [record(report(order), base + n, topic="reports") for n, order in enumerate(sent) if is_filled]
        reports = [msgspec.structs.replace(each, offset=base + n) for n, each in enumerate(reports)]
        market, inputs = [], ()
    return steps


def new_shard(*, conflate: bool, order_type: str) -> Shard:
    mapping: dict[str, Any] = {"order_type": order_type, "limit_offset_ticks": 1} if order_type == "limit" else {}
    serving = bundle(Wanting(LONG, SHORT, SHORT, FLAT), **mapping)
    return shard(msgspec.structs.replace(serving, observer=Observer(SPEC)), conflate=conflate)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=STREAMS, conflate=st.booleans(), order_type=st.sampled_from(["market", "limit"]))
def test_in_a_stream_full_of_them_each_offset_has_one_outcome_and_each_order_a_good_reference(
    stream: list[tuple[Any, int, int, bool, bool]], conflate: bool, order_type: str
) -> None:
    target = new_shard(conflate=conflate, order_type=order_type)
    steps = play(stream, target, order_type=order_type)
    good: Quote | None = None
    good_ns = 0
    for logged, market, _ in steps:
        assert len(logged.decisions) == len(market) == logged.step.market_to - logged.step.market_from
        sent = {order.source.offset: order for order in logged.orders if isinstance(order, Order)}
        for each, decision in zip(market, logged.decisions, strict=True):
            case = next((case for case in CASES if is_of(case, each)), None)
            if case is not None:
                assert (decision.outcome.value == "refused") == (not case.is_read)
            message = read(each)
            if isinstance(message, Quote) and 0 < message.bid <= message.ask and decision.outcome.value != "refused":
                good, good_ns = message, logged.step.clock_ns
            assert (each.offset in sent) == (decision.outcome.value == "order")
            if each.offset in sent:
                assert good is not None
                assert logged.step.clock_ns - good_ns <= 5 * SECOND
                check_price(sent[each.offset], good)
    again = new_shard(conflate=conflate, order_type=order_type)
    for logged, market, reports in steps:
        assert msgspec.json.encode(again.step(logged.step, market, reports)) == msgspec.json.encode(logged)
    adopted = new_shard(conflate=conflate, order_type=order_type)
    for logged, market, reports in steps:
        adopted.adopt(logged, market, reports)
    assert adopted.snapshot() == again.snapshot() == target.snapshot()


def read(each: Record) -> object:
    try:
        return decode("market", each.value, each.headers)
    except Refused:
        return None


def fields(each: Record) -> dict[str, Any]:
    assert each.value is not None
    return {name: value for name, value in msgspec.json.decode(each.value).items() if name != "ts_recv"}


def is_of(case: Case, each: Record) -> bool:
    return fields(record(case.quote, 0)) == fields(each)


def check_price(sent: Order, good: Quote) -> None:
    if sent.limit_price is None:
        return
    assert X.ticks(sent.limit_price) is not None
    assert sent.limit_price == (good.ask - X.price_step if sent.side == "buy" else good.bid + X.price_step)
    assert sent.limit_price > 0


def test_the_page_feeds_what_the_schema_reads() -> None:
    lines = re.findall(r'^(\{"type".*\})$', PAGE, re.MULTILINE)
    assert {type(decode("market", line.encode())).__name__ for line in lines} == {
        "Quote",
        "Trade",
        "Bar",
        "Observation",
    }
    assert "-X partitioner=murmur2_random" in PAGE


REAL = sorted(data_dir().glob("*quotes*.csv*"))


@pytest.mark.skipif(not REAL, reason=f"no market data in {data_dir()}; set TICKPILOT_DATA")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_quotes_one_in_five_of_them_crossed_move_prices_by_the_others_alone(path: Path) -> None:
    source = itertools.islice(TabularSource([str(path)]), 1_000)
    quotes = [msgspec.structs.replace(each, instrument="X") for each in source if isinstance(each, Quote)]
    real = infer_instruments(quotes, FeesConfig())[0]
    odd = [
        msgspec.structs.replace(each, bid=each.ask, ask=each.bid) if index % 5 == 4 else each
        for index, each in enumerate(quotes)
    ]
    serving = bundle(Wanting(LONG, SHORT), order_type="limit", limit_offset_ticks=1)
    config = ShardConfig(
        partition=0, instruments={"X": real}, strategies={"X": "s"}, decisions=DecisionConfig(conflate=False)
    )
    amounts = dict.fromkeys(("max_order_value", "max_gross_exposure", "max_net_exposure"), 1e9)
    limits = Limits.convert({"defaults": {"duplicate_window_ms": 0, "max_repeated_executions": 10_000, **amounts}})
    target = Shard(config, limits=limits, bundles={serving.sha256: serving}, partitions=1)
    good: Quote | None = None
    orders = crossed = 0
    reports: list[Record] = []
    for offset, each in enumerate(odd):
        market = [record(each, offset, at_ns=each.ts_recv)]
        inputs = ready_inputs() if offset == 0 else ()
        logged = target.step(step_of(target, market, *inputs, reports=reports, at_ns=each.ts_recv), market, reports)
        reports = []
        good, crossed = (each, crossed) if 0 < each.bid <= each.ask else (good, crossed + 1)
        if good is None:
            assert logged.orders == ()
            continue
        desk = target.desks["X"]
        assert (desk.bid_ticks, desk.ask_ticks) == (real.ticks(good.bid), real.ticks(good.ask))
        for sent in logged.orders:
            assert isinstance(sent, Order)
            assert sent.limit_price is not None
            touch, sign = (good.ask, 1) if sent.side == "buy" else (good.bid, -1)
            assert real.ticks(sent.limit_price) == (real.ticks(touch) or 0) - sign
            reports = [record(report(sent), target.reports_to, topic="reports")]
            orders += 1
    assert crossed >= len(odd) // 5 - 1
    assert orders > len(odd) // 2
