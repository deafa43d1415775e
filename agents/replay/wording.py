"""An explanation as lines of text for people."""

from collections.abc import Iterator
from datetime import UTC, datetime

from agents.replay.explain import Explanation, Standing
from messages import Cancel, ExecutionReport, Order, encode
from messages.decisions import (
    BundleActivated,
    BundleShadowed,
    BundleUnavailable,
    ControlApplied,
    MarketGap,
    RiskAlive,
    StepInput,
)

_LABEL = 10


def line_of(found: Explanation) -> str:
    """Return the explanation in one line."""
    code = "-" if found.outcome is None else found.outcome.value
    return f"{found.partition}/{found.offset} {_time(found.timestamp_ms)} {code}: {found.sentence}"


def lines_of(found: Explanation) -> list[str]:
    """Return all that is known, a line for each fact."""
    code = "not decided" if found.outcome is None else found.outcome.value
    lines = [f"market {found.partition}/{found.offset}: {code}: {found.sentence}"]
    lines += [f"  {label:<{_LABEL}} {text}" for label, text in _facts(found)]
    return lines


def _facts(found: Explanation) -> Iterator[tuple[str, str]]:
    yield from _record(found)
    if found.n is not None and found.clock_ns is not None:
        age = "" if found.age_ms is None else f", age {found.age_ms:.3f} ms"
        yield "step", f"n={found.n} at {_time(found.clock_ns // 1_000_000)}{age}"
    yield from (("input", _input(applied)) for applied in found.inputs)
    if found.standing is not None:
        yield from _standing(found.standing)
    elif found.message is not None and found.outcome is not None:
        yield "state", "unknown: the log does not reach back to a checkpoint or to the first step"
    if found.action is not None:
        yield "policy", _answer(found.action, found.target)
    elif found.target is not None:
        yield "target", f"{found.target:g}"
    if found.shadow is not None:
        shadow = found.shadow
        answer = shadow.error if shadow.action is None else _answer(shadow.action, shadow.target)
        yield "shadow", f"{shadow.bundle_id}: {answer}"
    yield from (("order", _order(order)) for order in found.orders)
    yield from (("cancel", _cancel(cancel)) for cancel in found.cancels)
    yield from (("report", _report(report)) for report in found.reports)


def _record(found: Explanation) -> Iterator[tuple[str, str]]:
    if found.message is not None:
        yield "record", f"{encode(found.message).decode()} at {_time(found.timestamp_ms)}"
    elif found.unreadable is not None:
        yield "record", f"unusable, at {_time(found.timestamp_ms)}: {found.unreadable}"
    elif found.timestamp_ms is None:
        yield "record", "not on `market`, or not any more"


def _answer(action: tuple[float, ...], target: float | None) -> str:
    wanted = "no position" if target is None else f"position {target:g}"
    return f"answered {', '.join(f'{value:g}' for value in action)}: {wanted}"


def _standing(standing: Standing) -> Iterator[tuple[str, str]]:
    yield "bundle", f"{standing.bundle_id or 'none'} for strategy {standing.strategy}"
    flight = f", in flight: {standing.in_flight_buy:g} to buy, {standing.in_flight_sell:g} to sell"
    yield "position", f"{standing.position:g}{flight}"
    yield "state", standing.state.value + ("" if standing.risk_alive else ", Risk's heartbeat is missing")
    for halt in standing.halts:
        yield "halt", f"{halt.scope} {halt.level} by {halt.writer} (control {halt.offset}): {halt.reason}"
    if standing.is_flattening:
        yield "flatten", "on"
    if standing.override is not None:
        yield "override", f"{standing.override:g}"
    if standing.policy_errors:
        yield "policy", f"failed {standing.policy_errors} times in a row before"
    if standing.is_disputed:
        yield "disputed", "a report could not be booked: a person has to look"
    for topic, reason in standing.unreadable.items():
        yield "input", f"`{topic}` can't be read: {reason}"


def _input(applied: StepInput) -> str:
    match applied:
        case ControlApplied(offset=offset, message=message):
            return f"control {offset}: {encode(message).decode()}"
        case BundleActivated(offset=offset, bundle_id=bundle_id, instrument=instrument):
            return f"control {offset}: {bundle_id} trades {instrument} from here on"
        case BundleShadowed(offset=offset, bundle_id=bundle_id, instrument=instrument):
            return f"control {offset}: {bundle_id or 'no bundle'} shadows {instrument} from here on"
        case BundleUnavailable(sha256=sha256):
            return f"bundle {sha256} could not be loaded"
        case RiskAlive(alive=alive):
            return f"Risk's heartbeat {'is back' if alive else 'is missing'}"
        case MarketGap(market_from=start, market_to=end):
            return f"market offsets {start} to {end - 1} hold no record"
        case _:
            return "nothing but time"


def _order(order: Order) -> str:
    price = "" if order.limit_price is None else f" at {order.limit_price:g}"
    kind = f"{order.order_type} {order.time_in_force}{' reduce-only' if order.reduce_only else ''}"
    return f"{order.order_id}: {order.side} {order.quantity:g}{price}, {kind}, seq {order.seq}"


def _cancel(cancel: Cancel) -> str:
    return f"{cancel.cancel_id}: {cancel.reason}, seq {cancel.seq}"


def _report(report: ExecutionReport) -> str:
    filled = f"{report.cumulative_quantity:g} at {report.average_price:g}, fee {report.cumulative_fee:g}"
    reason = "" if report.reason is None else f": {report.reason}"
    return f"{report.order_id} {report.status.value}, {filled}, {report.leaves_quantity:g} left{reason}"


def _time(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "-"
    moment = datetime.fromtimestamp(milliseconds / 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1_000:03d}Z"
