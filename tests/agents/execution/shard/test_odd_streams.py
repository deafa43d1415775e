"""Streams full of odd quotes: each offset has one outcome, each order a good reference."""

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.execution.shard import Shard
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import ShardConfig
from agents.feed.instruments import FeesConfig, infer_instruments
from agents.feed.tabular import TabularSource
from agents.risk.limits.file import Limits
from bundles.features import Observer
from messages import LoggedStep, Order, Quote, Record, Refused, Trade, decode
from tests.agents.execution.shard.odd_quotes import CASES, FLAT, LONG, MS, SHORT, SPEC, Case, Wanting
from tests.builders import (
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
