"""One order at the paper venue: from its arrival to its last report. Conservative: what is unsure is no fill.

Takers get the touch of the first good quote at or after their arrival, never more than it shows. Resting orders fill at
their own price, as makers: when the price goes through it, or when the volume that stood ahead of them has traded. The
rules with examples: docs/paper-venue.md.
"""

import base64
import hashlib
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Literal

from agents.risk.instruments import NANO, Instrument
from agents.venue.positions import Positions
from agents.venue.reasons import Reason, reason_text
from agents.venue.tape import Event, Print, Touch
from messages import ExecutionReport, Order, ReportStatus
from messages.reports import OrderPosition

TAKES_ONCE = ("IOC", "FOK")


class Phase(Enum):
    """Where an order is in its life."""

    ON_ITS_WAY = "on its way"
    RESTING = "resting"
    DONE = "done"


class WorkingOrder:
    """An accepted order. `arrival_ns` in the time basis of `ts_recv`; `trade_lag_ns` as in VenueConfig.

    `before`: the order of the instrument that was sent before it. They travel on one connection: it arrives no earlier.
    """

    def __init__(
        self,
        order: Order,
        position: OrderPosition,
        instrument: Instrument,
        positions: Positions,
        *,
        arrival_ns: int,
        trade_lag_ns: int,
        before: "WorkingOrder | None" = None,
    ) -> None:
        self.order, self.position, self._positions = order, position, positions
        self.arrival_ns, self._trade_lag_ns = arrival_ns, trade_lag_ns
        self.phase = Phase.ON_ITS_WAY
        self.arrived_at: int | None = None  # offset of the market record; also of one at which it was cancelled
        self._before = before
        self.is_buy = order.side == "buy"
        self.last_event: Event | None = None
        self._lots = instrument.lots(order.quantity) or 0
        self._limit = None if order.limit_price is None else instrument.ticks(order.limit_price)
        self._writer = ReportWriter(order, position, instrument, self._lots)
        self._trades_from_ns = 0
        self._ahead_lots: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether the order has had its last report, but for refused cancels."""
        return self.phase is Phase.DONE

    @property
    def resting_ticks(self) -> int | None:
        """The price at which the order rests; None when it doesn't."""
        return self._limit if self.phase is Phase.RESTING else None

    @property
    def knows_its_place(self) -> bool:
        """Whether the volume ahead of a resting order is known: until then a quote at its price matters, too."""
        return self._ahead_lots is not None

    def on_event(self, event: Event) -> list[ExecutionReport]:
        """Judge the order against the next market record of its instrument; return what it answers."""
        if self.is_done:
            return []
        if self.phase is Phase.RESTING:
            return self._rest(event)
        if event.bid is None or event.ask is None or event.ts_recv < self.arrival_ns or self._is_blocked(event):
            return []
        self._ends_its_way(event)
        return self._arrive(event, event.bid, event.ask)

    def cancel(self, event: Event) -> list[ExecutionReport]:
        """Cancel what is left at that market record, or at the last fill when that is younger: fills stand.

        On a finished order the answer is that the cancel came too late.
        """
        at = event if self.last_event is None or self.last_event.offset < event.offset else self.last_event
        if self.is_done:
            return [self._writer.write(ReportStatus.CANCEL_REJECTED, at.ts_recv, reason=reason_text(Reason.FINISHED))]
        if self.phase is Phase.ON_ITS_WAY:
            self._ends_its_way(event)
        return [self._finish(ReportStatus.CANCELED, at)]

    def _is_blocked(self, event: Event) -> bool:
        before = self._before
        return before is not None and (before.arrived_at is None or before.arrived_at > event.offset)

    def _ends_its_way(self, event: Event) -> None:
        self.arrived_at, self._before = event.offset, None

    def _arrive(self, event: Event, bid: Touch, ask: Touch) -> list[ExecutionReport]:
        touch, own = (ask, bid) if self.is_buy else (bid, ask)
        force, is_reached = self.order.time_in_force, self._reaches(touch.ticks)
        if force == "GTX" and is_reached:
            return [self._finish(ReportStatus.REJECTED, event, Reason.POST_ONLY)]
        most = self._lots if not self.order.reduce_only else min(self._lots, self._reducible(event))
        if most <= 0:
            return [self._finish(ReportStatus.REJECTED, event, Reason.REDUCE_ONLY)]
        found = min(most, touch.volume.left(touch.lots)) if is_reached else 0
        if force == "FOK" and found < self._lots:
            return [self._finish(ReportStatus.EXPIRED, event, Reason.FILL_OR_KILL, f"{found} of {self._lots} lots")]
        reports = [self._fill(event, found, touch.ticks, touch, "taker")] if found > 0 else []
        if self.is_done:
            return reports
        if self.order.order_type == "market" or force in TAKES_ONCE:
            return [*reports, self._finish(ReportStatus.EXPIRED, event, Reason.NO_MORE_AT_ONCE)]
        self.phase = Phase.RESTING
        # The trades that made this quote may be told after it: they went to those who were there before.
        self._trades_from_ns = event.ts_recv + self._trade_lag_ns
        self._ahead_lots = 0 if self._is_through(own.ticks) else None
        self._look_ahead(own)
        return reports or [self._writer.write(ReportStatus.NEW, event.ts_recv)]

    def _reducible(self, event: Event) -> int:
        """Return how many lots would reduce the position; where that isn't known the order is taken at its word."""
        held = self._positions.at(event)
        if held is None:
            return self._lots
        return -held if self.is_buy else held

    def _reaches(self, ticks: int) -> bool:
        """Whether the order may deal at a price."""
        return self._limit is None or (ticks <= self._limit if self.is_buy else ticks >= self._limit)

    def _is_through(self, ticks: int) -> bool:
        """Whether a price is worse for the other side than ours: it would have dealt with us first."""
        return self._limit is not None and (ticks < self._limit if self.is_buy else ticks > self._limit)

    def _rest(self, event: Event) -> list[ExecutionReport]:
        reports: list[ExecutionReport] = []
        if event.ts_recv >= self._trades_from_ns:
            for printed in event.trades:
                reports += self._see_print(event, printed)
        if event.bid is not None and event.ask is not None and not self.is_done:
            touch, own = (event.ask, event.bid) if self.is_buy else (event.bid, event.ask)
            if self._is_through(touch.ticks):
                reports += self._be_hit(event, touch, touch.volume.left(touch.lots))
            self._look_ahead(own)
        return reports

    def _see_print(self, event: Event, printed: Print) -> list[ExecutionReport]:
        if printed.aggressor == self.order.side:
            return []  # it took from the other side of the book
        lots = printed.volume.left(printed.lots)
        if printed.ticks == self._limit and printed.aggressor is not None and self._ahead_lots is not None:
            passed = min(lots, self._ahead_lots)
            self._ahead_lots -= passed
            return self._be_hit(event, printed, lots - passed)
        return self._be_hit(event, printed, lots) if self._is_through(printed.ticks) else []

    def _look_ahead(self, own: Touch) -> None:
        """Learn what stands ahead, once: all that our side shows at our price when it is first seen there.

        When less is shown later we are no further: those who left may have stood behind us, and a trade that took
        some is told by itself.
        """
        if self._ahead_lots is None and own.ticks == self._limit:
            self._ahead_lots = own.lots

    def _be_hit(self, event: Event, source: Touch | Print, lots: int) -> list[ExecutionReport]:
        """Fill at our own price up to that many lots, as a maker."""
        if lots <= 0 or self._limit is None or self.is_done:
            return []
        return [self._fill(event, min(lots, self._writer.leaves_lots), self._limit, source, "maker")]

    def _fill(
        self, event: Event, lots: int, ticks: int, source: Touch | Print, liquidity: Literal["maker", "taker"]
    ) -> ExecutionReport:
        source.volume.taken_lots += lots
        self._positions.fill(self.order.order_id, self.order.instrument, lots if self.is_buy else -lots, event)
        self.last_event = event
        report = self._writer.fill(lots, ticks, event.ts_recv, liquidity)
        if report.status.is_final:
            self.phase = Phase.DONE
        return report

    def _finish(
        self, status: ReportStatus, event: Event, reason: Reason | None = None, values: str = ""
    ) -> ExecutionReport:
        self.phase = Phase.DONE
        text = None if reason is None else reason_text(reason, values)
        return self._writer.write(status, event.ts_recv, reason=text)


def rejection(order: Order, position: OrderPosition, reason: str) -> ExecutionReport:
    """Return the only report of an order that never gets to the market; it happened when the order was decided."""
    return ExecutionReport(
        exec_id=exec_id(order.order_id, 0),
        order_id=order.order_id,
        instrument=order.instrument,
        ts_event=order.ts_decided,
        side=order.side,
        strategy=order.strategy,
        bundle_id=order.bundle_id,
        status=ReportStatus.REJECTED,
        report_seq=0,
        cumulative_quantity=0.0,
        average_price=0.0,
        cumulative_fee=0.0,
        leaves_quantity=0.0,
        order=position,
        reason=reason,
    )


class ReportWriter:
    """The totals of one order, and reports that carry them."""

    def __init__(self, order: Order, position: OrderPosition, instrument: Instrument, lots: int) -> None:
        self._order, self._position, self._instrument = order, position, instrument
        self._lots = lots
        self._filled_lots = 0
        self._tick_lots = 0  # the sum of price times quantity, in steps
        self._fee_nanos = 0
        self._seq = 0

    @property
    def leaves_lots(self) -> int:
        """Lots that have not been filled."""
        return self._lots - self._filled_lots

    def fill(self, lots: int, ticks: int, ts_event: int, liquidity: Literal["maker", "taker"]) -> ExecutionReport:
        """Return the report of a fill."""
        value_nanos = self._instrument.value_nanos(ticks, lots)
        self._filled_lots += lots
        self._tick_lots += ticks * lots
        self._fee_nanos += self._instrument.fee_nanos(value_nanos, is_maker=liquidity == "maker")
        status = ReportStatus.PARTIALLY_FILLED if self.leaves_lots else ReportStatus.FILLED
        return self.write(status, ts_event, last=(lots, ticks), liquidity=liquidity)

    def write(
        self,
        status: ReportStatus,
        ts_event: int,
        *,
        reason: str | None = None,
        last: tuple[int, int] | None = None,
        liquidity: Literal["maker", "taker"] | None = None,
    ) -> ExecutionReport:
        """Return the order's next report."""
        order, instrument = self._order, self._instrument
        is_open = status in {ReportStatus.NEW, ReportStatus.PARTIALLY_FILLED}
        report = ExecutionReport(
            exec_id=exec_id(order.order_id, self._seq),
            order_id=order.order_id,
            instrument=order.instrument,
            ts_event=ts_event,
            side=order.side,
            strategy=order.strategy,
            bundle_id=order.bundle_id,
            status=status,
            report_seq=self._seq,
            cumulative_quantity=instrument.quantity(self._filled_lots),
            average_price=self._average_price() if self._filled_lots else 0.0,
            cumulative_fee=self._fee_nanos / NANO,
            leaves_quantity=instrument.quantity(self.leaves_lots) if is_open else 0.0,
            order=self._position,
            last_quantity=instrument.quantity(last[0]) if last else None,
            last_price=instrument.price(last[1]) if last else None,
            liquidity=liquidity,
            reason=reason,
        )
        self._seq += 1
        return report

    def _average_price(self) -> float:
        numerator, denominator = _exact_ratio(self._instrument.price_step)
        return self._tick_lots * numerator / (self._filled_lots * denominator)  # whole numbers: rounded once


@lru_cache(maxsize=1024)
def _exact_ratio(step: float) -> tuple[int, int]:
    return Decimal(repr(step)).as_integer_ratio()


def exec_id(order_id: str, report_seq: int) -> str:
    """Return the id of an order's report: the same whenever it is derived."""
    digest = hashlib.blake2b(f"{order_id}/{report_seq}".encode(), digest_size=16).digest()
    return base64.b32encode(digest).decode().rstrip("=")
