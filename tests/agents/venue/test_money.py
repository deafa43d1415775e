"""What the venue's fills cost: the ledger books them to the last 1e-9, and luck alone loses spread and fees."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.risk.instruments import Instrument
from agents.risk.ledger import Ledger
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from agents.venue.working import ReportWriter
from messages import ExecutionReport
from messages.reports import OrderPosition
from tests.agents.venue.market import MS, order, ordered, quote, record

COIN = Instrument(
    instrument="BTC", price_step=0.01, quantity_step=0.00001, taker_fee_bps=7.5, maker_fee_bps=-0.5, multiplier=1.0
)
FUTURE = Instrument(instrument="BTC", price_step=0.25, quantity_step=1.0, taker_fee_bps=0.3, multiplier=50.0)
HALF_SPREAD = 5


@given(
    st.sampled_from([COIN, FUTURE]),
    st.sampled_from(["buy", "sell"]),
    st.lists(st.tuples(st.integers(1, 20_000_000), st.integers(1, 100_000), st.booleans()), min_size=1, max_size=6),
)
def test_the_ledger_books_the_exact_money_of_every_fill(
    instrument: Instrument, side: str, fills: list[tuple[int, int, bool]]
) -> None:
    # What the totals can carry exactly ends where float64 does: some 10 million in fees.
    fills = [(ticks, lots if instrument is COIN else lots % 100 + 1, is_maker) for ticks, lots, is_maker in fills]
    lots_in_all = sum(lots for _, lots, _ in fills)
    asked = order(0, 0, side=side, quantity=instrument.quantity(lots_in_all))
    writer = ReportWriter(asked, OrderPosition(partition=0, offset=1), instrument, lots_in_all)
    ledger = Ledger({"BTC": instrument})
    cash_nanos = 0
    for ticks, lots, is_maker in fills:
        ledger.apply(writer.fill(lots, ticks, 0, "maker" if is_maker else "taker"))
        value_nanos = instrument.value_nanos(ticks, lots)
        cash_nanos -= value_nanos if side == "buy" else -value_nanos
        cash_nanos -= instrument.fee_nanos(value_nanos, is_maker=is_maker)
        assert ledger.cash_nanos == cash_nanos
    assert abs(ledger.position_lots("BTC")) == lots_in_all


@pytest.mark.parametrize("seed", range(3))
def test_a_random_policy_loses_its_half_spreads_and_fees(seed: int) -> None:
    instrument = Instrument(instrument="BTC", price_step=1.0, quantity_step=1.0, taker_fee_bps=2.0)
    rng = random.Random(seed)
    book, ledger = PaperBook(0, VenueConfig(latency_ns=MS), {"BTC": instrument}), Ledger({"BTC": instrument})
    middle, seq, held = 10_000, 0, 0.0
    reports: list[ExecutionReport] = book.orders(ordered())
    for offset in range(8_000):
        middle += rng.choice((-1, 0, 0, 0, 1))
        tick = quote(offset * 10, bid=middle - HALF_SPREAD, ask=middle + HALF_SPREAD, size=100)
        reports += book.market(record("market", offset, offset * 10), tick)
        if offset % 4 == 0:
            side = rng.choice(("buy", "sell")) if held == 0 else "sell" if held > 0 else "buy"
            asked = order(seq, offset, side=side, ts_decided=offset * 10 * MS)
            reports += book.orders([(record("orders", seq + 1, offset * 10), asked)])
            held += asked.quantity if side == "buy" else -asked.quantity
            seq += 1
    for report in reports:
        ledger.apply(report)
    ledger.mark("BTC", middle)
    traded = sum(report.cumulative_quantity for report in reports)
    assert traded == seq * 5
    expected = traded * HALF_SPREAD + ledger.fee_nanos() / 1e9
    # What the middle does between a decision and its fill, and while something is held, evens out.
    assert -ledger.equity_nanos() / 1e9 == pytest.approx(expected, rel=0.1)
