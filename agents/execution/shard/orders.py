"""From a wanted position to an order, and what is still open at the venue."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from agents.execution.shard.desk import Desk
from agents.execution.shard.step import ServingBundle
from agents.risk.gate import Proposal
from agents.risk.instruments import Instrument
from messages import Cancel, ExecutionReport, Order, Record, ReportStatus, order_id
from messages.orders import Source

NO_ANSWER = "no answer in time"


class OpenOrder(Struct, kw_only=True):
    """An order without a final report. Lots are signed by `sign`; `sent_ns` is the step clock."""

    order_id: str
    instrument: str
    sign: int
    lots: int
    sent_ns: int
    filled_lots: int = 0
    is_answered: bool = False
    is_cancel_asked: bool = False

    @property
    def open_lots(self) -> int:
        """Lots that may still fill."""
        return self.lots - self.filled_lots


class InstrumentOrders(Struct, kw_only=True):
    """The open orders of one instrument, oldest first, and their lots summed up, both sums positive.

    `unanswered` counts those whose cancel was asked for without any answer of the venue before.
    """

    orders: dict[str, OpenOrder] = {}
    buy_lots: int = 0
    sell_lots: int = 0
    unanswered: int = 0

    @property
    def oldest_ns(self) -> int:
        """When the oldest was sent, on the step clock."""
        return next(iter(self.orders.values())).sent_ns

    def count(self, order: OpenOrder, times: int) -> None:
        """Add an order to the sums (`times` 1), or take it out (-1) before it changes."""
        if order.sign > 0:
            self.buy_lots += times * order.open_lots
        else:
            self.sell_lots += times * order.open_lots
        self.unanswered += times * (order.is_cancel_asked and not order.is_answered)


NOTHING_OPEN = InstrumentOrders()


class OpenOrders:
    """The open orders of a shard, by instrument; one without any has no entry."""

    def __init__(self) -> None:
        self._by_instrument: dict[str, InstrumentOrders] = {}

    def __iter__(self) -> Iterator[OpenOrder]:
        for opened in self._by_instrument.values():
            yield from opened.orders.values()

    def __bool__(self) -> bool:
        """Whether anything is open."""
        return bool(self._by_instrument)

    def by_instrument(self) -> list[tuple[str, InstrumentOrders]]:
        """Return what is open, instrument by instrument."""
        return list(self._by_instrument.items())

    def of(self, instrument: str) -> InstrumentOrders:
        """Return the open orders of an instrument; not to be changed."""
        return self._by_instrument.get(instrument, NOTHING_OPEN)

    def add(self, order: Order, lots: int, now_ns: int) -> None:
        """An order of so many lots goes out."""
        self._put(
            OpenOrder(
                order_id=order.order_id,
                instrument=order.instrument,
                sign=1 if order.side == "buy" else -1,
                lots=lots,
                sent_ns=now_ns,
            )
        )

    def _put(self, order: OpenOrder) -> None:
        opened = self._by_instrument.get(order.instrument)
        if opened is None:
            opened = self._by_instrument[order.instrument] = InstrumentOrders()
        opened.orders[order.order_id] = order
        opened.count(order, 1)

    def cancel_asked(self, cancel: Cancel) -> None:
        """A cancel goes out."""
        opened = self.of(cancel.instrument)
        if (order := opened.orders.get(cancel.order_id)) is not None:
            opened.count(order, -1)
            order.is_cancel_asked = True
            opened.count(order, 1)

    def apply(self, report: ExecutionReport, instrument: Instrument) -> None:
        """Take a report in: fills only grow, a final report closes the order."""
        opened = self.of(report.instrument)
        if (order := opened.orders.get(report.order_id)) is None:
            return
        opened.count(order, -1)
        order.is_answered = True
        # More than was ordered is the books' affair: it must not make room for other orders.
        order.filled_lots = min(order.lots, max(order.filled_lots, instrument.lots(report.cumulative_quantity) or 0))
        if not report.status.is_final or report.status is ReportStatus.CANCEL_REJECTED:
            opened.count(order, 1)
            return
        del opened.orders[report.order_id]
        if not opened.orders:
            del self._by_instrument[report.instrument]

    def snapshot(self) -> tuple[OpenOrder, ...]:
        """Return the state, for a checkpoint."""
        return tuple(self)

    def restore(self, orders: Iterable[OpenOrder]) -> None:
        """Take a snapshot's state over."""
        self._by_instrument = {}
        for order in orders:
            self._put(order)


def new_order(
    proposal: Proposal,
    desk: Desk,
    bundle: ServingBundle | None,
    record: Record,
    *,
    log_id: str,
    seq: int,
    epoch: int,
    now_ns: int,
) -> Order:
    """Return the order that carries out a proposal, decided on this record of `market`."""
    source = Source(topic=record.topic, partition=record.partition, offset=record.offset)
    index = desk.orders_of_source if desk.source == record.offset else 0
    instrument = desk.instrument
    is_limit = proposal.order_type == "limit"
    return Order(
        order_id=order_id(log_id, desk.strategy, instrument.instrument, source, index),
        seq=seq,
        epoch=epoch,
        instrument=instrument.instrument,
        side=proposal.side,
        quantity=instrument.quantity(proposal.lots),
        order_type=proposal.order_type,
        time_in_force=bundle.actions.time_in_force if bundle and is_limit else "IOC",
        strategy=desk.strategy,
        bundle_id=desk.active.bundle_id if desk.active else "none",
        source=source,
        ts_decided=now_ns,
        limit_price=None if proposal.limit_ticks is None else instrument.price(proposal.limit_ticks),
        reduce_only=proposal.reduce_only,
    )


def proposal_of(order: Order, instrument: Instrument) -> Proposal:
    """Return the proposal that became this order."""
    return Proposal(
        instrument=order.instrument,
        strategy=order.strategy,
        side=order.side,
        lots=instrument.lots(order.quantity) or 0,
        order_type=order.order_type,
        limit_ticks=None if order.limit_price is None else instrument.ticks(order.limit_price),
        reduce_only=order.reduce_only,
    )


def new_cancel(order: OpenOrder, reason: str, *, seq: int, epoch: int) -> Cancel:
    """Return the cancel of what is left of an open order."""
    return Cancel(
        cancel_id=f"{order.order_id}-C",
        seq=seq,
        epoch=epoch,
        order_id=order.order_id,
        instrument=order.instrument,
        reason=reason,
    )


def cancel_reason(
    order: OpenOrder, *, is_halted: bool, is_flattening: bool, missing_lots: int, overdue_ns: int
) -> str | None:
    """Return why an open order is to be cancelled now, or None; one sent before `overdue_ns` should have an answer.

    `missing_lots` are signed: what the wanted position is above the one with all that is open filled.
    """
    if order.is_cancel_asked:
        return None
    if is_halted:
        return "halted"
    if is_flattening:
        return "flatten"
    if order.is_answered:
        return "the target has changed" if order.sign * missing_lots < 0 else None
    return NO_ANSWER if order.sent_ns < overdue_ns else None
