"""Positions, PnL and fees in whole lots and integer 1e-9 of the currency, from reports that carry totals.

A report moves the ledger by the difference between its totals and what is known of its order, so repeats and disorder
change nothing. At any time, exactly: cash + positions at their marks = equity = capital + realised + unrealised - fees.
"""

from collections.abc import Mapping

from msgspec import Struct

from agents.risk.instruments import NANO, Instrument
from messages.control import Adjust
from messages.errors import Refused
from messages.reports import ExecutionReport

FINISHED_ORDERS = 1024
LIVE_ORDERS = 65_536  # nobody has so many open: their ends were lost, or the reports are nonsense
UNASSIGNED = ""
MAX_MONEY = 1e18  # currency: more is nonsense, and its arithmetic would leave float64
_MAX_NANOS = MAX_MONEY * NANO
_FLOAT_ERROR = 1e-15


class BadReport(Refused):
    """Raised when a report or an adjustment can't be booked: the caller parks it and halts the instrument."""

    def __init__(self, subject: str, detail: str) -> None:
        super().__init__(f"{subject}: {detail}; the ledger was not changed, compare positions with the venue's")
        self.subject, self.detail = subject, detail


class Fill(Struct, frozen=True):
    """What a report changed. `lots` are signed (+ bought); money in 1e-9 of the currency; fees paid are positive."""

    instrument: str
    strategy: str
    bundle_id: str
    lots: int
    value_nanos: int
    fee_nanos: int
    realized_nanos: int


class OrderTotals(Struct, frozen=True, array_like=True):
    """What is known of one order. `lots`, `value_nanos` are signed (+ bought); `side` is empty in old checkpoints."""

    order_id: str
    report_seq: int
    lots: int
    value_nanos: int
    fee_nanos: int
    partition: int
    offset: int
    instrument: str = ""
    strategy: str = ""
    side: str = ""


class Holding(Struct, frozen=True, array_like=True):
    """One strategy's position in one instrument: signed lots and what they cost, and what was earned before."""

    strategy: str
    instrument: str
    lots: int = 0
    cost_nanos: int = 0
    realized_nanos: int = 0
    fee_nanos: int = 0


class BundleResult(Struct, frozen=True, array_like=True):
    """What one bundle's orders have earned: realised PnL goes to the bundle whose order reduces the position."""

    bundle_id: str
    realized_nanos: int = 0
    fee_nanos: int = 0
    fills: int = 0

    @property
    def net_nanos(self) -> int:
        """Realised PnL after fees."""
        return self.realized_nanos - self.fee_nanos


class LedgerState(Struct, frozen=True, kw_only=True):
    """The whole ledger, equal for equal histories: part of checkpoints."""

    cash_nanos: int
    capital_nanos: int
    holdings: tuple[Holding, ...]
    bundles: tuple[BundleResult, ...]
    live: tuple[OrderTotals, ...]
    finished: tuple[OrderTotals, ...]
    forgotten: tuple[tuple[int, int], ...]
    marks: tuple[tuple[str, int], ...]


class Ledger:
    """The books of a shard or of the portfolio. `cash_nanos`: what it starts with."""

    def __init__(
        self, instruments: Mapping[str, Instrument], *, cash_nanos: int = 0, finished_orders: int = FINISHED_ORDERS
    ) -> None:
        self._instruments = instruments
        self._finished_orders = finished_orders
        self.cash_nanos = cash_nanos
        self.capital_nanos = cash_nanos
        self._holdings: dict[tuple[str, str], Holding] = {}
        self._lots: dict[str, int] = {}
        self._bundles: dict[str, BundleResult] = {}
        self._live: dict[str, OrderTotals] = {}
        self._finished: dict[str, OrderTotals] = {}
        # Partition -> offset up to which finished orders may have been forgotten: reports on them are never booked.
        self._forgotten: dict[int, int] = {}
        self._marks: dict[str, int] = {}
        self._averages: dict[str, float] = {}  # computed at the first question, until the next trade

    def apply(self, report: ExecutionReport) -> Fill | None:
        """Book what the report adds to what is known of its order; None when that is nothing.

        Raises BadReport, with nothing changed, for an unknown instrument, a quantity off the grid, more than MAX_MONEY,
        an order that finished too long ago to be known, one that was another instrument's, strategy's or side's, or one
        more while LIVE_ORDERS are open.
        """
        instrument = self._instruments.get(report.instrument)
        if instrument is None:
            raise BadReport(f"report {report.exec_id}", f"instrument {report.instrument!r} has no reference data")
        order_id, order = report.order_id, report.order
        known = self._live.get(order_id) or self._finished.get(order_id)
        if known is None:
            if order.offset <= self._forgotten.get(order.partition, -1):
                raise BadReport(f"report {report.exec_id}", f"order {order_id} finished too long ago to be known")
            if len(self._live) >= LIVE_ORDERS:
                raise BadReport(f"report {report.exec_id}", f"{LIVE_ORDERS:,} orders are open already")
            known = _NOTHING_KNOWN
        elif (
            known.instrument != report.instrument or known.strategy != report.strategy or known.side != report.side
        ) and known.side:
            raise BadReport(
                f"report {report.exec_id}",
                f"order {order_id} is to {known.side} {known.instrument} for {known.strategy}, "
                f"not to {report.side} {report.instrument} for {report.strategy}",
            )
        if report.report_seq <= known.report_seq:
            return None
        lots, value_nanos, fee_nanos = _totals(report, instrument)
        if report.side == "sell":
            lots, value_nanos = -lots, -value_nanos
        totals = OrderTotals(
            order_id,
            report.report_seq,
            lots,
            value_nanos,
            fee_nanos,
            order.partition,
            order.offset,
            report.instrument,
            report.strategy,
            report.side,
        )
        self._remember(totals, is_final=report.status.is_final)
        lots -= known.lots
        value_nanos -= known.value_nanos
        fee_nanos -= known.fee_nanos
        if not (lots or value_nanos or fee_nanos):
            return None
        realized = self._trade(report.strategy, report.instrument, lots, value_nanos, fee_nanos)
        bundle_id = report.bundle_id
        earned = self._bundles.get(bundle_id) or BundleResult(bundle_id)
        self._bundles[bundle_id] = BundleResult(
            bundle_id, earned.realized_nanos + realized, earned.fee_nanos + fee_nanos, earned.fills + 1
        )
        return Fill(report.instrument, report.strategy, bundle_id, lots, value_nanos, fee_nanos, realized)

    def _remember(self, totals: OrderTotals, *, is_final: bool) -> None:
        order_id, finished = totals.order_id, self._finished
        if not is_final and order_id not in finished:
            self._live[order_id] = totals
            return
        self._live.pop(order_id, None)
        finished[order_id] = totals
        if len(finished) > self._finished_orders:
            oldest = finished.pop(next(iter(finished)))
            self._forgotten[oldest.partition] = max(oldest.offset, self._forgotten.get(oldest.partition, -1))

    def _trade(self, strategy: str, instrument: str, lots: int, value_nanos: int, fee_nanos: int) -> int:
        """Book signed lots for a signed value; return the realised PnL."""
        key = (strategy, instrument)
        held = self._holdings.get(key) or Holding(strategy, instrument)
        cost, realized = average_cost(held.lots, held.cost_nanos, lots, value_nanos)
        self._holdings[key] = Holding(
            strategy, instrument, held.lots + lots, cost, held.realized_nanos + realized, held.fee_nanos + fee_nanos
        )
        self._lots[instrument] = self._lots.get(instrument, 0) + lots
        self._averages.pop(instrument, None)
        self.cash_nanos -= value_nanos + fee_nanos
        return realized

    def adjust(self, *, cash_nanos: int = 0) -> None:
        """Put money in (or take it out)."""
        self.cash_nanos += cash_nanos
        self.capital_nanos += cash_nanos

    def adjust_position(self, instrument: str, lots: int, value_nanos: int, *, strategy: str = UNASSIGNED) -> None:
        """Add signed lots worth a signed value from outside: capital grows, cash stays."""
        self._trade(strategy, instrument, lots, value_nanos, 0)
        self.adjust(cash_nanos=value_nanos)

    def apply_adjust(self, adjust: Adjust, *, strategy: str = UNASSIGNED) -> None:
        """Book a correction by hand. Raises BadReport, with nothing changed: off the grid, or more than MAX_MONEY."""
        cash_nanos = _nanos(adjust.cash)
        if cash_nanos is None:
            raise BadReport(f"adjust {adjust.adjust_id}", f"cash of {adjust.cash:g} can't be booked")
        if adjust.instrument is not None:
            instrument = self._instruments.get(adjust.instrument)
            lots = instrument.lots(adjust.quantity) if instrument is not None else None
            value_nanos = _value_nanos(adjust.price, adjust.quantity, instrument) if instrument is not None else None
            if lots is None or value_nanos is None:
                raise BadReport(
                    f"adjust {adjust.adjust_id}", f"{adjust.quantity:g} {adjust.instrument} can't be booked"
                )
            self.adjust_position(adjust.instrument, lots, value_nanos, strategy=strategy)
        self.adjust(cash_nanos=cash_nanos)

    def mark(self, instrument: str, ticks: int) -> None:
        """Value the instrument at `ticks` from now on."""
        self._marks[instrument] = ticks

    def knows(self, order_id: str) -> bool:
        """Whether a report of the order was booked and is still known."""
        return order_id in self._live or order_id in self._finished

    def is_finished(self, order_id: str) -> bool:
        """Whether a final report of the order was booked and is still known."""
        return order_id in self._finished

    def mark_ticks(self, instrument: str) -> int | None:
        """Return the last mark, or None."""
        return self._marks.get(instrument)

    def position_lots(self, instrument: str) -> int:
        """Return the signed position over all strategies."""
        return self._lots.get(instrument, 0)

    def holding(self, strategy: str, instrument: str) -> Holding:
        """Return one strategy's holding."""
        return self._holdings.get((strategy, instrument)) or Holding(strategy, instrument)

    def holdings(self) -> tuple[Holding, ...]:
        """Return all holdings, flat ones included, in order of strategy and instrument."""
        return tuple(self._holdings[key] for key in sorted(self._holdings))

    def bundles(self) -> tuple[BundleResult, ...]:
        """Return what each bundle has earned, in order of their ids."""
        return tuple(self._bundles[key] for key in sorted(self._bundles))

    def average_price(self, instrument: str) -> float | None:
        """Return what a unit of the position cost on average, or None when flat."""
        lots = self.position_lots(instrument)
        if lots == 0:
            return None
        if (known := self._averages.get(instrument)) is None:
            reference = self._instruments[instrument]
            known = self.cost_nanos(instrument) / (lots * reference.nanos_per_tick_lot) * reference.price_step
            self._averages[instrument] = known
        return known

    def cost_nanos(self, instrument: str) -> int:
        """Return the signed cost of the position over all strategies."""
        return sum(held.cost_nanos for held in self._holdings.values() if held.instrument == instrument)

    def value_nanos(self, instrument: str) -> int:
        """Return the signed value of the position at its mark; at its cost when it was never marked."""
        lots = self._lots.get(instrument, 0)
        ticks = self._marks.get(instrument)
        return self.cost_nanos(instrument) if ticks is None else self._instruments[instrument].value_nanos(ticks, lots)

    def realized_nanos(self, instrument: str | None = None) -> int:
        """Return realised PnL before fees, of one instrument or of all."""
        return sum(h.realized_nanos for h in self._holdings.values() if instrument in (None, h.instrument))

    def fee_nanos(self, instrument: str | None = None) -> int:
        """Return fees paid, of one instrument or of all."""
        return sum(h.fee_nanos for h in self._holdings.values() if instrument in (None, h.instrument))

    def unrealized_nanos(self, instrument: str | None = None) -> int:
        """Return the PnL of open positions at their marks, of one instrument or of all."""
        names = self._lots if instrument is None else (instrument,)
        return sum(self.value_nanos(name) - self.cost_nanos(name) for name in names)

    def equity_nanos(self) -> int:
        """Return cash and positions at their marks."""
        return self.cash_nanos + sum(self.value_nanos(name) for name in self._lots)

    def gross_exposure_nanos(self) -> int:
        """Return the sum of the positions' absolute values."""
        return sum(abs(self.value_nanos(name)) for name in self._lots)

    def net_exposure_nanos(self) -> int:
        """Return the sum of the positions' signed values."""
        return sum(self.value_nanos(name) for name in self._lots)

    def snapshot(self) -> LedgerState:
        """Return the state, equal for equal histories."""
        return LedgerState(
            cash_nanos=self.cash_nanos,
            capital_nanos=self.capital_nanos,
            holdings=self.holdings(),
            bundles=self.bundles(),
            live=tuple(self._live[key] for key in sorted(self._live)),
            finished=tuple(self._finished.values()),
            forgotten=tuple(sorted(self._forgotten.items())),
            marks=tuple(sorted(self._marks.items())),
        )

    @classmethod
    def restore(
        cls, state: LedgerState, instruments: Mapping[str, Instrument], *, finished_orders: int = FINISHED_ORDERS
    ) -> "Ledger":
        """Return a ledger in that state."""
        ledger = cls(instruments, cash_nanos=state.cash_nanos, finished_orders=finished_orders)
        ledger.capital_nanos = state.capital_nanos
        for held in state.holdings:
            ledger._holdings[held.strategy, held.instrument] = held
            ledger._lots[held.instrument] = ledger._lots.get(held.instrument, 0) + held.lots
        ledger._bundles = {result.bundle_id: result for result in state.bundles}
        ledger._live = {totals.order_id: totals for totals in state.live}
        ledger._finished = {totals.order_id: totals for totals in state.finished}
        ledger._forgotten = dict(state.forgotten)
        ledger._marks = dict(state.marks)
        return ledger


def average_cost(held_lots: int, cost_nanos: int, lots: int, value_nanos: int) -> tuple[int, int]:
    """Return (cost of the new position, realised PnL) after trading signed lots for a signed value.

    What a reduction releases is its share of the cost, what goes through zero its share of the value, each rounded
    down: whole money moves between cost and PnL, none appears or is lost. A correction of value alone is cost while
    there is a position and PnL when there is none.
    """
    after = held_lots + lots
    if lots == 0:
        return (cost_nanos + value_nanos, 0) if held_lots else (0, -value_nanos)
    if held_lots == 0 or (held_lots > 0) == (lots > 0):
        return cost_nanos + value_nanos, 0
    if after == 0 or (after > 0) == (held_lots > 0):
        released = cost_nanos * -lots // held_lots
        return cost_nanos - released, -value_nanos - released
    closing_value = value_nanos * -held_lots // lots
    return value_nanos - closing_value, -closing_value - cost_nanos


_NOTHING_KNOWN = OrderTotals("", -1, 0, 0, 0, -1, -1)


def _totals(report: ExecutionReport, instrument: Instrument) -> tuple[int, int, int]:
    """Return lots, value and fees of a report, unsigned. Raises BadReport."""
    quantity, price = report.cumulative_quantity, report.average_price
    lots = instrument.lots(quantity)
    if lots is None:
        raise BadReport(f"report {report.exec_id}", f"{quantity:g} is not a whole number of lots")
    value_nanos = _value_nanos(price, quantity, instrument)
    fee_nanos = _nanos(report.cumulative_fee)
    if value_nanos is None or fee_nanos is None:
        raise BadReport(
            f"report {report.exec_id}",
            f"{quantity:g} at {price:g} with fee {report.cumulative_fee:g} "
            f"is more than {MAX_MONEY:g} {instrument.currency}",
        )
    return lots, value_nanos, fee_nanos


def _nanos(money: float) -> int | None:
    return round(money * NANO) if -MAX_MONEY <= money <= MAX_MONEY else None


def _value_nanos(average_price: float, quantity: float, instrument: Instrument) -> int | None:
    """Return the value in 1e-9, None beyond MAX_MONEY; exact where the fills were on the price grid."""
    nanos = average_price * quantity * instrument.multiplier * NANO
    if not -_MAX_NANOS <= nanos <= _MAX_NANOS:
        return None
    step = instrument.nanos_per_tick_lot
    on_grid = round(nanos / step) * step
    off = nanos - on_grid
    # Nearly always the first: fills are on the price grid.
    return on_grid if -1.0 <= off <= 1.0 or abs(off) <= abs(nanos) * _FLOAT_ERROR else round(nanos)
