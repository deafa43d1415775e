"""A report, or a correction by hand, booked: position, open orders, account, and what people should know of it.

Changes what it is given.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from msgspec.structs import replace

from agents.execution.shard.desk import Desk
from agents.execution.shard.notices import Disputed, Notice, Unanswered
from agents.execution.shard.orders import OpenOrders
from agents.risk.ledger import BadReport, Ledger
from messages import Adjust, ExecutionReport
from messages.decisions import ControlApplied, StepInput


def book(
    report: ExecutionReport, desk: Desk, ledger: Ledger, orders: OpenOrders, *, timeout_ms: int, now_ns: int
) -> Iterator[Notice]:
    """Apply a report to the books; yield what is new of it: a dispute, or the late answer to an order."""
    name = report.instrument
    before = ledger.position_lots(name)
    try:
        _check_ours(report, desk, ledger)
        ledger.apply(report)
    except BadReport as error:
        if not desk.is_disputed:
            yield Disputed(
                instrument=name, exec_id=report.exec_id, order_id=report.order_id, reason=str(error), at_ns=now_ns
            )
        desk.is_disputed = True
        return
    opened = desk.account.orders.get(report.order_id)
    if opened is not None and opened.is_cancel_asked and not opened.is_answered:
        yield Unanswered(
            instrument=name, order_id=report.order_id, has_begun=False, timeout_ms=timeout_ms, at_ns=now_ns
        )
    orders.apply(desk.account, report, desk.instrument)
    _hold(desk, before, ledger, now_ns)


def _check_ours(report: ExecutionReport, desk: Desk, ledger: Ledger) -> None:
    """Raise BadReport for an order that this shard has not sent, as far as it knows: whose fill it is, nobody can say.

    Risk books it, for the venue may be right, and finds that the positions disagree.
    """
    if report.order_id not in desk.account.orders and not ledger.knows(report.order_id):
        raise BadReport(
            f"report {report.exec_id}",
            f"order {report.order_id} is not known: it was never sent from here, or has finished too long ago",
        )


def correct(applied: StepInput, desks: Mapping[str, Desk], ledger: Ledger, *, control_to: int, now_ns: int) -> None:
    """Apply a correction of a position by hand, if the input is one that was not applied yet.

    Cash is the portfolio's, and Risk keeps that. A correction that can't be booked is void, and Risk tells people.
    """
    if not isinstance(applied, ControlApplied) or applied.offset < control_to:
        return
    adjust = applied.message
    if not isinstance(adjust, Adjust) or (desk := desks.get(adjust.instrument or "")) is None:
        return
    before = ledger.position_lots(desk.instrument.instrument)
    with suppress(BadReport):
        ledger.apply_adjust(replace(adjust, cash=0.0))
    _hold(desk, before, ledger, now_ns)


def _hold(desk: Desk, before: int, ledger: Ledger, now_ns: int) -> None:
    name = desk.instrument.instrument
    desk.account.hold(after := ledger.position_lots(name), ledger.average_price(name))
    if after != before and (before == 0 or after * before < 0):
        desk.held_since_ns = now_ns
