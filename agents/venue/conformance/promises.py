"""What must be true of all reports together, whatever happened: pure, from the records of two topics."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isclose

from agents.venue.intake import Intake
from messages import ExecutionReport, Order, Record, Refused, ReportStatus, decode
from messages.orders import OrderMessage

_OPEN = {ReportStatus.NEW, ReportStatus.PARTIALLY_FILLED}
_FILLS = {ReportStatus.PARTIALLY_FILLED, ReportStatus.FILLED}
_NEEDS_REASON = {ReportStatus.REJECTED, ReportStatus.CANCEL_REJECTED}
_TOLERANCE = 1e-9

Placed = tuple[Record, Order]
Said = tuple[Record, ExecutionReport]


def broken_promises(orders: Iterable[Record], reports: Iterable[Record]) -> list[str]:
    """Return what a venue's reports break, in words; nothing when all is well.

    Both are whole topics, each partition in the order of its offsets. Records of `orders` that can't be read count as
    not there; orders without any answer are not told of: they may still be on their way.
    """
    placed = _valid_orders(orders)
    told: defaultdict[str, list[Said]] = defaultdict(list)
    for record in reports:
        report = decode("reports", record.value, record.headers)
        if isinstance(report, ExecutionReport):
            told[report.order_id].append((record, report))
    wrong: list[str] = []
    for order_id, said in told.items():
        if order_id not in placed:
            wrong.append(f"{order_id} was answered ({said[0][1].status}), but is no valid order")
            continue
        found = [*_place(placed[order_id], said), *_story(placed[order_id][1], said)]
        wrong += [f"{order_id}: {problem}" for problem in found]
    return wrong + _exec_ids(told)


def _valid_orders(records: Iterable[Record]) -> dict[str, Placed]:
    intakes: defaultdict[int, Intake] = defaultdict(Intake)
    placed: dict[str, Placed] = {}
    for record in records:
        message = _read(record)
        if message is not None and intakes[record.partition].takes(record, message) and isinstance(message, Order):
            placed.setdefault(message.order_id, (record, message))
    return placed


def _read(record: Record) -> OrderMessage | None:
    try:
        message: object = decode("orders", record.value, record.headers)
    except Refused:
        return None
    return message if isinstance(message, OrderMessage) else None


def _place(placed: Placed, said: Sequence[Said]) -> Iterable[str]:
    """Check that answers stand where the order does, and say whose they are."""
    at, order = placed
    for record, report in said:
        if record.partition != at.partition:
            yield f"answered in partition {record.partition}, the order's record is in {at.partition}"
        if (report.order.partition, report.order.offset) != (at.partition, at.offset):
            yield f"the answer names {report.order}, the record is orders-{at.partition} at {at.offset}"
        if record.key != order.instrument.encode():
            yield f"the answer's key is {record.key!r}, not the instrument"
        for field in ("instrument", "side", "strategy", "bundle_id"):
            if getattr(report, field) != getattr(order, field):
                yield f"the answer's {field} is {getattr(report, field)!r}, the order's {getattr(order, field)!r}"


def _story(order: Order, said: Sequence[Said]) -> Iterable[str]:
    """Check numbers, totals and the end, report by report; a repeat of one says nothing new."""
    newest: ExecutionReport | None = None
    is_over = False
    for _, report in said:
        if newest is not None and report.report_seq <= newest.report_seq:
            continue  # a repeat: _exec_ids sees whether it is one
        expected = 0 if newest is None else newest.report_seq + 1
        if report.report_seq != expected:
            yield f"report_seq {report.report_seq} where {expected} is next"
        if is_over and report.status is not ReportStatus.CANCEL_REJECTED:
            yield f"{report.status} after the order's end"
        yield from _totals(order, newest, report)
        yield from _terms(order, report)
        if report.status in _NEEDS_REASON and not report.reason:
            yield f"{report.status} without a reason"
        newest, is_over = report, is_over or report.status.is_final


def _totals(order: Order, before: ExecutionReport | None, report: ExecutionReport) -> Iterable[str]:
    had, value = (before.cumulative_quantity, _value(before)) if before is not None else (0.0, 0.0)
    last, price = report.last_quantity or 0.0, report.last_price or 0.0
    if not _equal(had + last, report.cumulative_quantity):
        yield f"cumulative_quantity {report.cumulative_quantity:g} after {had:g} and a fill of {last:g}"
    if not _equal(value + last * price, _value(report)):
        yield f"average_price {report.average_price:g} is not that of its fills"
    if report.cumulative_quantity > order.quantity * (1 + _TOLERANCE):
        yield f"{report.cumulative_quantity:g} filled of {order.quantity:g}"
    if (last > 0) is not (report.status in _FILLS):
        yield f"{report.status} with a fill of {last:g}"
    left = order.quantity - report.cumulative_quantity
    if report.status in _OPEN and not _equal(report.leaves_quantity, left):
        yield f"leaves_quantity {report.leaves_quantity:g}, {left:g} are left"
    if report.status.is_final and report.leaves_quantity != 0:
        yield f"leaves_quantity {report.leaves_quantity:g} after the end"
    if (report.status is ReportStatus.FILLED) is not (_equal(left, 0) and report.status in _FILLS):
        yield f"{report.status} with {left:g} left"


def _terms(order: Order, report: ExecutionReport) -> Iterable[str]:
    """Check the order's own terms: its limit, post-only, fill or kill."""
    if report.last_price is not None and order.limit_price is not None:
        beyond = report.last_price - order.limit_price if order.side == "buy" else order.limit_price - report.last_price
        if beyond > order.limit_price * _TOLERANCE:
            yield f"filled at {report.last_price:g}, its limit is {order.limit_price:g}"
    if order.time_in_force == "GTX" and report.liquidity == "taker":
        yield "post-only, and it took"
    if (
        order.time_in_force == "FOK"
        and report.status.is_final
        and report.cumulative_quantity not in (0, order.quantity)
    ):
        yield f"fill or kill, and {report.cumulative_quantity:g} of {order.quantity:g} were filled"


def _exec_ids(told: dict[str, list[Said]]) -> list[str]:
    """Check that an exec_id names one report only, and a report has one exec_id."""
    contents: dict[str, ExecutionReport] = {}
    ids: dict[tuple[str, int], str] = {}
    wrong = []
    for _, report in (each for said in told.values() for each in said):
        if contents.setdefault(report.exec_id, report) != report:
            wrong.append(f"exec_id {report.exec_id} stands for two reports")
        if ids.setdefault((report.order_id, report.report_seq), report.exec_id) != report.exec_id:
            wrong.append(f"{report.order_id}: report_seq {report.report_seq} has two exec_ids")
    return wrong


def _value(report: ExecutionReport) -> float:
    return report.average_price * report.cumulative_quantity


def _equal(a: float, b: float) -> bool:
    return isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
