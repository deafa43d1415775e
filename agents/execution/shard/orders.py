"""From a wanted position to an order, and what is still open at the venue."""

from collections.abc import Iterator, Mapping

from agents.execution.shard.account import Account, OpenOrder
from agents.execution.shard.desk import Desk
from agents.execution.shard.step import ServingBundle
from agents.risk.gate import Proposal
from agents.risk.instruments import Instrument
from agents.risk.kill_switch import TradingState
from messages import Cancel, ExecutionReport, Order, Record, ReportStatus, order_id
from messages.orders import Source

NO_ANSWER = "no answer in time"
_ACTIVE, _HALTED = TradingState.ACTIVE, TradingState.HALTED  # looking them up costs more than comparing them


class OpenOrders:
    """The open orders of a shard: they lie in the accounts; here is which accounts have any."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def __iter__(self) -> Iterator[OpenOrder]:
        for account in self._accounts.values():
            yield from account.orders.values()

    def __bool__(self) -> bool:
        """Whether anything is open."""
        return bool(self._accounts)

    def to_cancel(self, desks: Mapping[str, Desk], overdue_ns: int, *, is_blind: bool) -> list[tuple[OpenOrder, str]]:
        """Return the orders to cancel now, and why; one sent before `overdue_ns` should have an answer."""
        found: list[tuple[OpenOrder, str]] = []
        for name, account in self._accounts.items():
            desk = desks[name]
            is_active = desk.state is _ACTIVE and not is_blind
            missing_lots = 0 if desk.target_lots is None else desk.target_lots - account.effective_lots
            if is_active and not (desk.is_flattening or missing_lots) and account.oldest_ns >= overdue_ns:
                continue  # nearly always
            for order in account.orders.values():
                reason = _cancel_reason(
                    order,
                    is_halted=desk.state is _HALTED,
                    is_entry=not is_active and not account.only_reduces(order),
                    is_flattening=desk.is_flattening,
                    missing_lots=missing_lots,
                    overdue_ns=overdue_ns,
                )
                if reason is not None:
                    found.append((order, reason))
        return found

    def add(self, account: Account, order: OpenOrder) -> None:
        """An order goes out, or stands in a checkpoint."""
        self._accounts[order.instrument] = account
        account.orders[order.order_id] = order
        account.count(order, 1)

    def cancel_asked(self, account: Account, cancel: Cancel) -> None:
        """A cancel goes out."""
        if (order := account.orders.get(cancel.order_id)) is not None:
            account.count(order, -1)
            order.is_cancel_asked = True
            account.count(order, 1)

    def apply(self, account: Account, report: ExecutionReport, instrument: Instrument) -> None:
        """Take a report in: fills only grow, a final report closes the order."""
        if (order := account.orders.get(report.order_id)) is None:
            return
        account.count(order, -1)
        order.is_answered = True
        # More than was ordered is the books' affair: it must not make room for other orders.
        order.filled_lots = min(order.lots, max(order.filled_lots, instrument.lots(report.cumulative_quantity) or 0))
        if not report.status.is_final or report.status is ReportStatus.CANCEL_REJECTED:
            account.count(order, 1)
            return
        del account.orders[report.order_id]
        if not account.orders:
            del self._accounts[report.instrument]

    def snapshot(self) -> tuple[OpenOrder, ...]:
        """Return the state, for a checkpoint."""
        return tuple(self)


def open_order(order: Order, lots: int, now_ns: int) -> OpenOrder:
    """Return an order of so many lots as it goes out."""
    sign = 1 if order.side == "buy" else -1
    return OpenOrder(
        order_id=order.order_id,
        instrument=order.instrument,
        sign=sign,
        lots=lots,
        sent_ns=now_ns,
        reduce_only=order.reduce_only,
    )


def new_order(
    proposal: Proposal,
    desk: Desk,
    bundle: ServingBundle | None,
    record: Record,
    *,
    log_id: str,
    index: int,
    seq: int,
    epoch: int,
    now_ns: int,
) -> Order:
    """Return the order that carries out a proposal, the `index`-th decided on this record of `market`."""
    source = Source(topic=record.topic, partition=record.partition, offset=record.offset)
    instrument, name, strategy = desk.instrument, proposal.instrument, proposal.strategy
    limit_ticks = proposal.limit_ticks
    return Order(
        order_id=order_id(log_id, strategy, name, source, index),
        seq=seq,
        epoch=epoch,
        instrument=name,
        side=proposal.side,
        quantity=instrument.quantity(proposal.lots),
        order_type=proposal.order_type,
        time_in_force="IOC" if limit_ticks is None or bundle is None else bundle.actions.time_in_force,
        strategy=strategy,
        bundle_id="none" if desk.active is None else desk.active.bundle_id,
        source=source,
        ts_decided=now_ns,
        limit_price=None if limit_ticks is None else instrument.price(limit_ticks),
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


def _cancel_reason(
    order: OpenOrder, *, is_halted: bool, is_entry: bool, is_flattening: bool, missing_lots: int, overdue_ns: int
) -> str | None:
    """`missing_lots` are signed: what the wanted position is above the one with all that is open filled.

    `is_entry`: only what reduces may trade, and this could do more; one that the venue has not answered is on its way,
    and is cancelled if it rests.
    """
    if order.is_cancel_asked:
        return None
    if not (is_flattening and order.reduce_only):  # a Flatten's own orders are what it is there for
        if is_halted:
            return "halted"
        if is_flattening:
            return "flatten"
    if order.is_answered and is_entry:
        return "only what reduces may trade"
    if order.is_answered:
        return "the target has changed" if order.sign * missing_lots < 0 else None
    return NO_ANSWER if order.sent_ns < overdue_ns else None
