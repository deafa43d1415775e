"""What a shard has to tell people, as facts: the runner makes Alerts of them (alerts.py). Pure.

`step` and `adopt` give the same ones, so that whoever recovers tells what the owner before may have died with.
"""

from msgspec import Struct

from agents.execution.shard.desk import Desk
from agents.execution.shard.intake import Turn
from agents.risk.limits.file import OrderLimits
from messages import Cancel, Order


class FellBack(Struct, frozen=True, kw_only=True):
    """A policy failed `errors` times in a row; what it left is `now`: the previous bundle, or None: the desk goes flat.

    `offset`: the market record at which it failed last.
    """

    instrument: str
    strategy: str
    offset: int
    errors: int
    failed: str
    now: str | None
    at_ns: int


class Unanswered(Struct, frozen=True, kw_only=True):
    """The venue did not answer an order within `timeout_ms` (`has_begun`), or has answered it at last."""

    instrument: str
    order_id: str
    has_begun: bool
    timeout_ms: int
    at_ns: int


class Disputed(Struct, frozen=True, kw_only=True):
    """A report could not be booked."""

    instrument: str
    exec_id: str
    order_id: str
    reason: str
    at_ns: int


class Throttled(Struct, frozen=True, kw_only=True):
    """The repeated-execution throttle has closed: `orders` within `window_ms`, the last of them `order_id`."""

    instrument: str
    strategy: str
    order_id: str
    orders: int
    window_ms: int
    at_ns: int


Notice = Turn | FellBack | Unanswered | Disputed | Throttled


def fell_back(desk: Desk, failed: str, errors: int, offset: int, now_ns: int) -> FellBack:
    """Return the notice of a desk that has just given a bundle up."""
    return FellBack(
        instrument=desk.instrument.instrument,
        strategy=desk.strategy,
        offset=offset,
        errors=errors,
        failed=failed,
        now=None if desk.has_failed or desk.active is None else desk.active.bundle_id,
        at_ns=now_ns,
    )


def unanswered(cancel: Cancel, timeout_ms: int, now_ns: int) -> Unanswered:
    """Return the notice of an order whose cancel is asked for because the venue is silent."""
    return Unanswered(
        instrument=cancel.instrument, order_id=cancel.order_id, has_begun=True, timeout_ms=timeout_ms, at_ns=now_ns
    )


def throttled(order: Order, limits: OrderLimits, now_ns: int) -> Throttled:
    """Return the notice of the order that has closed the repeated-execution throttle."""
    return Throttled(
        instrument=order.instrument,
        strategy=order.strategy,
        order_id=order.order_id,
        orders=limits.max_repeated_executions,
        window_ms=limits.repeated_execution_window_ms,
        at_ns=now_ns,
    )
