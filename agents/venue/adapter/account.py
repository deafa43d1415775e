"""One order between the venue and `reports`: what was said of it, and what has to be said now."""

from enum import Enum

from msgspec.structs import replace

from agents.venue.adapter.venue import VenueOrder
from messages import ExecutionReport, Order, ReportStatus
from messages.reports import OrderPosition

_DECIMALS = 12  # quantities are decimal numbers: what differs beyond is float noise
_FILLS = {ReportStatus.PARTIALLY_FILLED, ReportStatus.FILLED}


class Phase(Enum):
    """How far an order has come to the venue."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"


class Account:
    """An order and the totals of its newest report; the difference to the venue's view is what goes out.

    `doubted_since_ns`: since when the venue has to be asked about it. `wants_cancel`: a cancel was read.
    """

    def __init__(self, order: Order, place: OrderPosition) -> None:
        self.order, self.place = order, place
        self.wants_cancel = self.is_final = False
        self.phase = Phase.WAITING
        self.doubted_since_ns: int | None = None
        self._seq = 0
        self._said = VenueOrder(order_id=order.order_id, status=ReportStatus.NEW, ts=0)

    @property
    def is_doubtful(self) -> bool:
        """Whether the venue has to be asked."""
        return self.doubted_since_ns is not None

    def doubt(self, now_ns: int) -> None:
        """What became of the order is unknown from now on, if it was known; one that was not sent is not in doubt."""
        if self.doubted_since_ns is None and self.phase is not Phase.WAITING:
            self.doubted_since_ns = now_ns

    def resume(self, newest: ExecutionReport, *, is_final: bool) -> None:
        """Go on after what stands on the topic; `is_final`: the order's last report is among it."""
        self._seq, self.is_final = newest.report_seq + 1, is_final
        self._said = VenueOrder(
            order_id=newest.order_id,
            status=newest.status,
            ts=newest.ts_event,
            filled=newest.cumulative_quantity,
            value=newest.average_price * newest.cumulative_quantity,
            fee=newest.cumulative_fee,
        )

    def news(self, now: VenueOrder) -> list[ExecutionReport]:
        """Return what the venue's view adds: a fill, also one that comes after the end, and a change of the status."""
        filled = round(now.filled - self._said.filled, _DECIMALS)
        if filled < 0:
            return []  # older than what was said
        reports = []
        if filled > 0:
            is_full = now.status is ReportStatus.FILLED
            reports.append(self._report(ReportStatus.FILLED if is_full else ReportStatus.PARTIALLY_FILLED, now, filled))
        ends = now.status.is_final and now.status is not ReportStatus.FILLED
        if not self.is_final and (ends or self._seq == 0):
            reports.append(self._report(now.status, now))
        self.is_final = self.is_final or now.status.is_final
        return reports

    def refusal(self, reason: str, ts: int) -> list[ExecutionReport]:
        """Return the end of an order that the venue does not work (any more): rejected, or canceled if it once did."""
        status = ReportStatus.REJECTED if self._seq == 0 else ReportStatus.CANCELED
        return self.news(replace(self._said, status=status, ts=ts, reason=reason))

    def withdrawal(self, ts: int) -> list[ExecutionReport]:
        """Return the only report of an order that was cancelled before it was sent."""
        return self.news(VenueOrder(order_id=self.order.order_id, status=ReportStatus.CANCELED, ts=ts))

    def cancel_rejection(self, reason: str, ts: int) -> list[ExecutionReport]:
        """Return the answer to a cancel that came too late: the order is as it was."""
        state = replace(self._said, status=ReportStatus.CANCEL_REJECTED, ts=ts, reason=reason)
        return [self._report(ReportStatus.CANCEL_REJECTED, state)]

    def _report(self, status: ReportStatus, now: VenueOrder, filled: float | None = None) -> ExecutionReport:
        order, seq, before = self.order, self._seq, self._said
        price = None if filled is None else round((now.value - before.value) / filled, 9)
        self._seq, self._said = seq + 1, now
        is_over = self.is_final or status.is_final
        return ExecutionReport(
            exec_id=f"{order.order_id}-{seq}",
            order_id=order.order_id,
            instrument=order.instrument,
            ts_event=now.ts,
            side=order.side,
            strategy=order.strategy,
            bundle_id=order.bundle_id,
            status=status,
            report_seq=seq,
            cumulative_quantity=now.filled,
            average_price=now.value / now.filled if now.filled else 0.0,
            cumulative_fee=now.fee,
            leaves_quantity=0.0 if is_over else round(order.quantity - now.filled, _DECIMALS),
            order=self.place,
            last_quantity=filled,
            last_price=price,
            liquidity=None if filled is None else now.liquidity,
            reason=None if status in _FILLS else now.reason,
        )
