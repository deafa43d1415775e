"""One order at the paper venue: from its arrival to its last report. Conservative: what is unsure is no fill.

Takers get the touch of the first good quote at or after their arrival, never more than it shows. Resting orders fill at
their own price, as makers: when the price goes through it, or when the volume that stood ahead of them has traded.
"""

import base64
import hashlib
from enum import Enum
from typing import Literal

from agents.risk.instruments import NANO, Instrument
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
    """An accepted order. `arrival_ns` in the time basis of `ts_recv`."""

    def __init__(self, order: Order, position: OrderPosition, instrument: Instrument, arrival_ns: int) -> None:
        self.order, self.position, self._instrument = order, position, instrument
        self.arrival_ns = arrival_ns
        self.phase = Phase.ON_ITS_WAY
        self.last_event: Event | None = None
        self._is_buy = order.side == "buy"
        self._lots = instrument.lots(order.quantity) or 0
        self._limit = None if order.limit_price is None else instrument.ticks(order.limit_price)
        self._writer = ReportWriter(order, position, instrument, self._lots)
        self._ahead_lots: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether the order has had its last report, but for refused cancels."""
        return self.phase is Phase.DONE

    @property
    def resting_ticks(self) -> int | None:
        """The price at which the order rests; None when it doesn't."""
        return self._limit if self.phase is Phase.RESTING else None

    def on_event(self, event: Event) -> list[ExecutionReport]:
        """Judge the order against the next market record of its instrument; return what it answers."""
        if self.is_done:
            return []
        if self.phase is Phase.RESTING:
            return self._rest(event)
        if event.bid is None or event.ask is None or event.ts_recv < self.arrival_ns:
            return []
        return self._arrive(event, event.bid, event.ask)

    def cancel(self, event: Event) -> list[ExecutionReport]:
        """Cancel what is left at that market record, or at the last fill when that is younger: fills stand.

        On a finished order the answer is that the cancel came too late.
        """
        at = event if self.last_event is None or self.last_event.offset < event.offset else self.last_event
        if self.is_done:
            return [self._writer.write(ReportStatus.CANCEL_REJECTED, at.ts_recv, reason="the order is finished")]
        return [self._finish(ReportStatus.CANCELED, at.ts_recv)]

    def _arrive(self, event: Event, bid: Touch, ask: Touch) -> list[ExecutionReport]:
        touch = ask if self._is_buy else bid
        force = self.order.time_in_force
        found = touch.volume.left(touch.lots, self.position.offset, event.offset) if self._reaches(touch.ticks) else 0
        if force == "GTX" and self._reaches(touch.ticks):
            return [self._finish(ReportStatus.REJECTED, event.ts_recv, "post-only order would take")]
        if force == "FOK" and found < self._lots:
            return [self._finish(ReportStatus.EXPIRED, event.ts_recv, f"fill or kill: {found} lots to be had")]
        reports: list[ExecutionReport] = []
        if found > 0:
            reports.append(self._fill(event, min(found, self._lots), touch.ticks, touch, "taker"))
        if self.is_done:
            return reports
        if self.order.order_type == "market" or force in TAKES_ONCE:
            reports.append(self._finish(ReportStatus.EXPIRED, event.ts_recv, "no more to be had at once"))
            return reports
        self.phase = Phase.RESTING
        self._look_ahead(bid if self._is_buy else ask)
        return reports or [self._writer.write(ReportStatus.NEW, event.ts_recv)]

    def _reaches(self, ticks: int) -> bool:
        """Whether the order may deal at a price."""
        return self._limit is None or (ticks <= self._limit if self._is_buy else ticks >= self._limit)

    def _is_through(self, ticks: int) -> bool:
        """Whether a price is worse for the other side than ours: it would have dealt with us first."""
        return self._limit is not None and (ticks < self._limit if self._is_buy else ticks > self._limit)

    def _rest(self, event: Event) -> list[ExecutionReport]:
        reports: list[ExecutionReport] = []
        for printed in event.trades:
            if not self.is_done and printed.aggressor != self.order.side:
                reports += self._see_print(event, printed)
        if event.bid is not None and event.ask is not None and not self.is_done:
            touch, own = (event.ask, event.bid) if self._is_buy else (event.bid, event.ask)
            if self._is_through(touch.ticks):
                found = touch.volume.left(touch.lots, self.position.offset, event.offset)
                if found > 0 and self._limit is not None:
                    left = self._writer.leaves_lots
                    reports.append(self._fill(event, min(found, left), self._limit, touch, "maker"))
            self._look_ahead(own)
        return reports

    def _see_print(self, event: Event, printed: Print) -> list[ExecutionReport]:
        limit = self._limit
        if limit is None:
            return []
        lots = printed.volume.left(printed.lots, self.position.offset, event.offset)
        if printed.ticks == limit:
            if self._ahead_lots is None:
                return []
            passed = min(lots, self._ahead_lots)
            self._ahead_lots -= passed
            lots -= passed
        elif not self._is_through(printed.ticks):
            return []
        if lots <= 0:
            return []
        return [self._fill(event, min(lots, self._writer.leaves_lots), limit, printed, "maker")]

    def _look_ahead(self, own: Touch) -> None:
        """Update the volume ahead from our side's touch: all that it shows at our price, never more than before."""
        if self._limit is None:
            return
        if own.ticks == self._limit:
            self._ahead_lots = own.lots if self._ahead_lots is None else min(self._ahead_lots, own.lots)
        elif self._is_through(own.ticks):
            self._ahead_lots = 0

    def _fill(
        self, event: Event, lots: int, ticks: int, source: Touch | Print, liquidity: Literal["maker", "taker"]
    ) -> ExecutionReport:
        source.volume.take(lots, self.position.offset, event.offset)
        self.last_event = event
        report = self._writer.fill(lots, ticks, event.ts_recv, liquidity)
        if report.status.is_final:
            self.phase = Phase.DONE
        return report

    def _finish(self, status: ReportStatus, ts_event: int, reason: str | None = None) -> ExecutionReport:
        self.phase = Phase.DONE
        return self._writer.write(status, ts_event, reason=reason)


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
        self._tick_lots = 0
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
            average_price=self._tick_lots / self._filled_lots * instrument.price_step if self._filled_lots else 0.0,
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


def exec_id(order_id: str, report_seq: int) -> str:
    """Return the id of an order's report: the same whenever it is derived."""
    digest = hashlib.blake2b(f"{order_id}/{report_seq}".encode(), digest_size=16).digest()
    return base64.b32encode(digest).decode().rstrip("=")
