"""The ledger against a naive one that keeps every report and reckons in fractions: they agree on every figure."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.risk.instruments import NANO, Instrument
from agents.risk.limits.file import PortfolioLimits
from agents.risk.watch.portfolio import Portfolio
from messages import ExecutionReport, Quote, ReportStatus
from messages.reports import OrderPosition
from tests.agents.risk.market import INSTRUMENTS, NOW, report

CASH = 10_000.0
Pair = tuple[str, str]
Event = ExecutionReport | Quote
HALF = Fraction(1, 2)


class Oracle:
    """Every report is kept, and everything is derived anew from all of them."""

    def __init__(self) -> None:
        self.reports: list[ExecutionReport] = []
        self.mids: dict[str, Fraction] = {}
        self.peak = Fraction(CASH)

    def fills(self) -> Iterator[tuple[Pair, Fraction, Fraction, Fraction]]:
        """What each report adds to all before it of its order: signed quantity, signed value, fee."""
        for number, entry in enumerate(self.reports):
            before = [old for old in self.reports[:number] if old.order_id == entry.order_id]
            if any(old.report_seq >= entry.report_seq for old in before):
                continue
            newest = max(before, key=lambda old: old.report_seq, default=None)
            now, then = totals(entry), totals(newest) if newest is not None else (Fraction(0),) * 3
            yield (entry.strategy, entry.instrument), now[0] - then[0], now[1] - then[1], now[2] - then[2]

    def books(self) -> dict[str, Fraction]:
        """All figures of the portfolio by name, in units and in the currency."""
        held: dict[Pair, tuple[Fraction, Fraction]] = {}
        cash, fees, realized = Fraction(CASH), Fraction(0), Fraction(0)
        for pair, traded, traded_value, fee in self.fills():
            quantity, value = traded, traded_value
            position, cost = held.get(pair, (Fraction(0), Fraction(0)))
            cash -= value + fee
            fees += fee
            if quantity and position * quantity < 0:  # first what closes, at the position's average and the fill's
                closing = min(abs(position), abs(quantity)) * (1 if quantity > 0 else -1)
                released = cost * -closing / position
                realized += -(value * closing / quantity) - released
                position, cost = position + closing, cost - released
                quantity, value = quantity - closing, value * (quantity - closing) / quantity
            if quantity or position:
                position, cost = position + quantity, cost + value
            else:
                realized -= value
            held[pair] = position, cost
        found = {"cash": cash, "fees": fees, "realized": realized}
        equity, gross, net, unrealized = cash, Fraction(0), Fraction(0), Fraction(0)
        for name in INSTRUMENTS:
            position = sum((p for (_, of), (p, _) in held.items() if of == name), Fraction(0))
            cost = sum((c for (_, of), (_, c) in held.items() if of == name), Fraction(0))
            value = position * self.mids[name] if name in self.mids else cost
            equity, gross, net, unrealized = equity + value, gross + abs(value), net + value, unrealized + value - cost
            found |= {f"position {name}": position, f"average {name}": cost / position if position else Fraction(0)}
        return found | {"equity": equity, "gross": gross, "net": net, "unrealized": unrealized}


def totals(entry: ExecutionReport) -> tuple[Fraction, Fraction, Fraction]:
    """Quantity and value, signed, and fee: exactly what the venue meant by its floats."""
    instrument = INSTRUMENTS[entry.instrument]
    sign = 1 if entry.side == "buy" else -1
    quantity = on_grid(entry.cumulative_quantity, instrument.quantity_step)
    step = Fraction(str(instrument.quantity_step)) * Fraction(str(instrument.price_step))
    value = round(Fraction(entry.average_price) * quantity / step) * step
    return sign * quantity, sign * value, Fraction(round(entry.cumulative_fee * NANO), NANO)


def on_grid(number: float, step: float) -> Fraction:
    return round(Fraction(number) / Fraction(str(step))) * Fraction(str(step))


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """Orders in two instruments for two strategies: partial fills, late fills after a cancel; quotes in between."""
    told: list[Event] = []
    for number in range(draw(st.integers(1, 7))):
        instrument = draw(st.sampled_from(list(INSTRUMENTS.values())))
        base: dict[str, Any] = {
            "order_id": f"o{number}",
            "instrument": instrument.instrument,
            "side": draw(st.sampled_from(["buy", "sell"])),
            "strategy": draw(st.sampled_from(["s", "t"])),
            "bundle_id": draw(st.sampled_from(["b", "c"])),
            "order": OrderPosition(partition=number % 2, offset=number),
        }
        statuses = draw(st.sampled_from([("new", "filled"), ("partially_filled", "canceled", "canceled"), ("filled",)]))
        told += _reports(draw, instrument, base, statuses)
    told += draw(st.lists(st.builds(_quote, st.sampled_from(["BTC", "ETH"]), st.integers(10, 500)), max_size=6))
    repeats = draw(st.lists(st.sampled_from(told), max_size=4))
    return draw(st.permutations([*told, *repeats]))


def _reports(
    draw: st.DrawFn, instrument: Instrument, base: dict[str, Any], statuses: tuple[str, ...]
) -> Iterator[ExecutionReport]:
    lots = tick_lots = 0
    for seq, status in enumerate(statuses):
        if status != "new":
            more = draw(st.integers(0, 50))
            lots, tick_lots = lots + more, tick_lots + more * draw(st.integers(1, 5_000))
        average = float(Fraction(tick_lots, lots) * Fraction(str(instrument.price_step))) if lots else 0.0
        yield report(
            exec_id=f"{base['order_id']}/{seq}",
            report_seq=seq,
            status=ReportStatus(status),
            cumulative_quantity=instrument.quantity(lots),
            average_price=average,
            cumulative_fee=draw(st.integers(-5, 20)) * lots / 1_000,
            **base,
        )


def _quote(name: str, steps: int) -> Quote:
    instrument = INSTRUMENTS[name]
    bid, ask = instrument.price(2 * steps), instrument.price(2 * steps + 2)
    return Quote(instrument=name, ts_recv=NOW, bid=bid, bid_size=1.0, ask=ask, ask_size=1.0)


@settings(max_examples=200, deadline=None)
@given(events())
def test_every_figure_is_that_of_a_ledger_that_keeps_all_reports(told: list[Event]) -> None:
    portfolio, oracle = Portfolio(INSTRUMENTS, PortfolioLimits(), cash=CASH), Oracle()
    ledger = portfolio.ledger
    for number, event in enumerate(told):
        if isinstance(event, Quote):
            portfolio.apply_tick(event, NOW)
            step = Fraction(str(INSTRUMENTS[event.instrument].price_step))
            bid, ask = (on_grid(price, float(step)) for price in (event.bid, event.ask))
            oracle.mids[event.instrument] = (bid + ask) * HALF
        else:
            portfolio.apply_report(event)
            oracle.reports.append(event)
        portfolio.observe(NOW + number)
        wanted = oracle.books()
        oracle.peak = max(oracle.peak, wanted["equity"])
    # Shares of a cost are rounded down to 1e-9, once a trade; nothing else is rounded.
    rounding = Fraction(len(told), NANO)
    assert Fraction(ledger.cash_nanos, NANO) == wanted["cash"]
    assert Fraction(ledger.fee_nanos(), NANO) == wanted["fees"]
    assert abs(Fraction(ledger.realized_nanos(), NANO) - wanted["realized"]) <= rounding
    assert abs(Fraction(ledger.unrealized_nanos(), NANO) - wanted["unrealized"]) <= rounding
    for mine, name in (
        (ledger.equity_nanos(), "equity"),
        (ledger.gross_exposure_nanos(), "gross"),
        (ledger.net_exposure_nanos(), "net"),
    ):
        assert abs(Fraction(mine, NANO) - wanted[name]) <= (0 if len(oracle.mids) == len(INSTRUMENTS) else rounding)
    for name, instrument in INSTRUMENTS.items():
        position = wanted[f"position {name}"]
        assert ledger.position_lots(name) * Fraction(str(instrument.quantity_step)) == position
        if position:
            assert abs(Fraction(ledger.average_price(name) or 0.0) - wanted[f"average {name}"]) < Fraction(1, 10**6)
    snapshot = portfolio.snapshot(NOW)
    assert abs(Fraction(snapshot.drawdown) - (oracle.peak - wanted["equity"]) / oracle.peak) < Fraction(1, 10**9)


def test_the_oracle_itself_is_right_on_paper() -> None:
    oracle = Oracle()
    oracle.reports = [
        report(order_id="o1", report_seq=0, cumulative_quantity=1.0, average_price=100.0),
        report(order_id="o2", report_seq=1, side="sell", cumulative_quantity=3.0, average_price=110.0),
        report(order_id="o2", report_seq=0, side="sell", cumulative_quantity=1.0, average_price=50.0),
    ]
    oracle.mids = {"BTC": Fraction(105)}
    wanted = {"realized": 10, "position BTC": -2, "average BTC": 110, "unrealized": 10, "equity": 10_020, "gross": 210}
    assert {name: oracle.books()[name] for name in wanted} == wanted
