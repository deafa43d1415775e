"""The ledger: exact identity, repeats and disorder harmless, average cost through zero."""

import itertools
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.risk.instruments import NANO
from agents.risk.ledger import BadReport, Ledger, LedgerState, average_cost
from messages import Adjust, ExecutionReport, ReportStatus
from messages.reports import OrderPosition
from tests.agents.risk.market import BTC, INSTRUMENTS, report


def totals(lots: int, tick_lots: int) -> dict[str, float]:
    average = float(Fraction(tick_lots, lots) * Fraction(1, 2)) if lots else 0.0
    return {"cumulative_quantity": BTC.quantity(lots), "average_price": average}


@st.composite
def histories(draw: st.DrawFn) -> list[list[ExecutionReport]]:
    """Per order, its reports in order: totals only grow, the last one may be final or not."""
    orders = []
    for number in range(draw(st.integers(1, 6))):
        side = draw(st.sampled_from(["buy", "sell"]))
        lots = tick_lots = 0
        fee = 0
        reports: list[ExecutionReport] = []
        fills = draw(st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 10_000_000)), min_size=1, max_size=4))
        for seq, (more, ticks) in enumerate(fills):
            lots, tick_lots, fee = lots + more, tick_lots + more * ticks, fee + draw(st.integers(-1_000, 10_000))
            is_last = seq == len(fills) - 1
            reports.append(
                report(
                    exec_id=f"{number}/{seq}",
                    order_id=f"o{number}",
                    side=side,
                    strategy=draw(st.sampled_from(["s", "t"])) if seq == 0 else reports[0].strategy,
                    bundle_id=f"b{number % 2}",
                    report_seq=seq,
                    cumulative_fee=fee / NANO,
                    status=ReportStatus.FILLED if is_last and number % 3 else ReportStatus.PARTIALLY_FILLED,
                    order=OrderPosition(partition=0, offset=number),
                    **totals(lots, tick_lots),
                )
            )
        orders.append(reports)
    return orders


def check_identity(ledger: Ledger) -> None:
    positions = sum(ledger.value_nanos(name) for name in INSTRUMENTS)
    assert ledger.cash_nanos + positions == ledger.equity_nanos()
    gained = ledger.realized_nanos() + ledger.unrealized_nanos() - ledger.fee_nanos()
    assert ledger.capital_nanos + gained == ledger.equity_nanos()


@given(histories(), st.integers(1, 10_000_000))
def test_cash_and_positions_at_their_marks_are_the_equity_exactly(
    orders: list[list[ExecutionReport]], mark: int
) -> None:
    ledger = Ledger(INSTRUMENTS, cash_nanos=10**15)
    ledger.mark("BTC", mark)
    for entry in itertools.chain.from_iterable(orders):
        ledger.apply(entry)
        check_identity(ledger)
    bundles = sum(result.net_nanos for result in ledger.bundles())
    assert bundles == ledger.realized_nanos() - ledger.fee_nanos()


@given(histories(), st.data())
def test_repeats_and_disorder_end_in_the_same_position_cash_and_fees(
    orders: list[list[ExecutionReport]], data: st.DataObject
) -> None:
    straight, shuffled = Ledger(INSTRUMENTS), Ledger(INSTRUMENTS)
    entries = list(itertools.chain.from_iterable(orders))
    for entry in entries:
        straight.apply(entry)
    for entry in data.draw(st.permutations(entries + entries)):
        shuffled.apply(entry)
    for ledger in (straight, shuffled):
        ledger.mark("BTC", 77)
    # Average cost depends on the order of trades, so realised and unrealised may trade places; their sum may not.
    assert shuffled.cash_nanos == straight.cash_nanos
    assert shuffled.position_lots("BTC") == straight.position_lots("BTC")
    assert shuffled.fee_nanos() == straight.fee_nanos()
    assert shuffled.equity_nanos() == straight.equity_nanos()


@given(histories(), st.integers(0, 30))
def test_a_restored_ledger_goes_on_as_the_original(orders: list[list[ExecutionReport]], cut: int) -> None:
    entries = list(itertools.chain.from_iterable(orders))
    whole, first = Ledger(INSTRUMENTS, cash_nanos=5), Ledger(INSTRUMENTS, cash_nanos=5)
    for entry in entries:
        whole.apply(entry)
    for entry in entries[:cut]:
        first.apply(entry)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(first.snapshot()), type=LedgerState)
    restored = Ledger.restore(state, INSTRUMENTS)
    for entry in entries:
        restored.apply(entry)
    assert restored.snapshot() == whole.snapshot()


@given(st.integers(1, 10**6), st.lists(st.integers(1, 10**8), min_size=1, max_size=20))
def test_the_value_of_fills_on_the_grid_is_recovered_exactly_from_a_float_average(lots: int, prices: list[int]) -> None:
    ledger = Ledger(INSTRUMENTS)
    tick_lots = sum(lots * ticks for ticks in prices)
    fill = ledger.apply(report(**totals(lots * len(prices), tick_lots)))
    assert fill is not None
    assert fill.value_nanos == tick_lots * BTC.nanos_per_tick_lot


def test_a_flip_through_zero_realises_the_old_position_and_opens_the_rest_at_the_fill() -> None:
    ledger = Ledger(INSTRUMENTS)
    ledger.apply(report(order_id="o1", cumulative_quantity=1.0, average_price=100.0))
    fill = ledger.apply(report(order_id="o2", side="sell", cumulative_quantity=3.0, average_price=110.0))
    assert fill is not None
    assert fill.realized_nanos == 10 * NANO
    assert ledger.position_lots("BTC") == -200
    assert ledger.average_price("BTC") == 110.0


PAPER: list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = [
    # (held lots, cost), (traded lots, value), (new cost, realised)
    ((0, 0), (10, 1_000), (1_000, 0)),
    ((10, 1_000), (10, 1_200), (2_200, 0)),
    ((20, 2_200), (-5, -600), (1_650, 50)),
    ((15, 1_650), (-15, -1_500), (0, -150)),
    ((15, 1_650), (-25, -2_500), (-1_000, -150)),
    ((-10, -1_000), (4, 360), (-600, 40)),
    ((-10, -1_000), (10, 1_100), (0, -100)),
    ((-10, -1_000), (30, 2_700), (1_800, 100)),
    ((3, 100), (-1, -33), (67, 0)),  # a third of 100 releases 33, the rest stays
    ((10, 1_000), (0, 7), (1_007, 0)),
    ((0, 0), (0, 7), (0, -7)),
]


@pytest.mark.parametrize(("held", "traded", "expected"), PAPER)
def test_average_cost_is_as_on_paper(held: tuple[int, int], traded: tuple[int, int], expected: tuple[int, int]) -> None:
    assert average_cost(*held, *traded) == expected


def test_a_late_fill_after_cancel_is_booked_and_an_older_report_is_not() -> None:
    ledger = Ledger(INSTRUMENTS)
    ledger.apply(report(status=ReportStatus.CANCELED, report_seq=2, cumulative_quantity=0.5))
    assert ledger.apply(report(status=ReportStatus.PARTIALLY_FILLED, report_seq=1, cumulative_quantity=0.3)) is None
    late = ledger.apply(report(status=ReportStatus.CANCELED, report_seq=3, cumulative_quantity=0.6))
    assert late is not None
    assert late.lots == 10
    assert ledger.position_lots("BTC") == 60


def test_finished_orders_are_forgotten_but_never_booked_twice() -> None:
    ledger = Ledger(INSTRUMENTS, finished_orders=2)
    entries = [report(order_id=f"o{n}", order=OrderPosition(partition=0, offset=n)) for n in range(5)]
    for entry in entries:
        ledger.apply(entry)
    with pytest.raises(BadReport, match="too long ago"):
        ledger.apply(entries[0])
    assert ledger.apply(entries[-1]) is None
    assert ledger.position_lots("BTC") == 500
    assert len(ledger.snapshot().finished) == 2
    assert ledger.snapshot().live == ()


@pytest.mark.parametrize("wrong", [{"instrument": "DOGE"}, {"cumulative_quantity": 0.005}])
def test_what_cannot_be_booked_changes_nothing(wrong: dict[str, object]) -> None:
    ledger = Ledger(INSTRUMENTS)
    before = ledger.snapshot()
    with pytest.raises(BadReport):
        ledger.apply(report(**wrong))
    assert ledger.snapshot() == before


def test_orders_that_never_end_are_refused_one_day_and_the_known_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.risk.ledger.LIVE_ORDERS", 3)
    ledger = Ledger(INSTRUMENTS)
    new = {"status": ReportStatus.NEW, "cumulative_quantity": 0.0}
    for n in range(3):
        ledger.apply(report(order_id=f"o{n}", **new))
    with pytest.raises(BadReport, match="3 orders are open already"):
        ledger.apply(report(order_id="o3", **new))
    assert ledger.apply(report(order_id="o0", report_seq=1)) is not None
    assert ledger.apply(report(order_id="o3")) is not None


@pytest.mark.parametrize("other", [{"instrument": "ETH"}, {"strategy": "t"}, {"side": "sell"}])
def test_an_order_cannot_become_anothers(other: dict[str, object]) -> None:
    ledger = Ledger(INSTRUMENTS)
    ledger.apply(report(report_seq=0, status=ReportStatus.PARTIALLY_FILLED, cumulative_quantity=0.5))
    before = ledger.snapshot()
    with pytest.raises(BadReport, match="order o1 is to buy BTC for s, not to"):
        ledger.apply(report(report_seq=1, **other))
    assert ledger.snapshot() == before
    restored = Ledger.restore(before, INSTRUMENTS)
    with pytest.raises(BadReport, match="not to"):
        restored.apply(report(report_seq=1, **other))


def test_an_adjustment_moves_capital_and_is_neither_gain_nor_loss() -> None:
    ledger = Ledger(INSTRUMENTS, cash_nanos=100 * NANO)
    ledger.apply_adjust(Adjust(adjust_id="a", who="w", reason="r", ts=0, cash=50.0))
    ledger.apply_adjust(Adjust(adjust_id="b", who="w", reason="r", ts=0, instrument="BTC", quantity=2.0, price=10.0))
    assert (ledger.cash_nanos, ledger.capital_nanos, ledger.position_lots("BTC")) == (150 * NANO, 170 * NANO, 200)
    ledger.mark("BTC", 22)
    assert ledger.unrealized_nanos() == 2 * NANO
    check_identity(ledger)


def test_a_position_without_mark_is_valued_at_its_cost() -> None:
    ledger = Ledger(INSTRUMENTS)
    ledger.apply(report())
    assert ledger.unrealized_nanos() == 0
    assert ledger.gross_exposure_nanos() == 100 * NANO


@settings(max_examples=300)
@given(
    st.integers(-1000, 1000), st.integers(-(10**12), 10**12), st.integers(-1000, 1000), st.integers(-(10**12), 10**12)
)
def test_average_cost_neither_makes_nor_loses_money(held: int, cost: int, lots: int, value: int) -> None:
    cost = cost if held else 0
    new_cost, realized = average_cost(held, cost, lots, value)
    assert realized == new_cost - cost - value
    assert new_cost == 0 or held + lots != 0
