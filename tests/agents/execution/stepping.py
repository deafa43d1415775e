"""Steps of one shard, in a line each, for tests of what comes of them."""

from agents.execution.shard import Shard
from messages import Alert, LoggedStep, Order, Override, Record
from messages.control import ControlMessage
from messages.decisions import ControlApplied, StepInput
from tests.builders import START_NS, record, report, step_of

LONG, FLAT, SHORT = 2.0, 1.0, 0.0


def advance(
    target: Shard,
    messages: list[object],
    *inputs: StepInput,
    reports: list[Record] | None = None,
    at_ns: int = START_NS,
) -> LoggedStep:
    market = [record(message, target.market_to + index, at_ns=at_ns) for index, message in enumerate(messages)]
    return target.step(step_of(target, market, *inputs, reports=reports, at_ns=at_ns), market, reports or [])


def said(logged: LoggedStep) -> list[str]:
    """Each record's outcome, or the code of its denial."""
    return [d.outcome.value if d.denial is None else d.denial.code.value for d in logged.decisions]


def orders(logged: LoggedStep) -> list[tuple[str, float, str]]:
    """(side, quantity, bundle) of each order."""
    return [(o.side, o.quantity, o.bundle_id) for o in logged.orders if isinstance(o, Order)]


def filled(target: Shard, logged: LoggedStep) -> list[Record]:
    """The venue's reports of the step's orders, all filled."""
    sent = [order for order in logged.orders if isinstance(order, Order)]
    return [record(report(order), target.reports_to + index, topic="reports") for index, order in enumerate(sent)]


def said_by(offset: int, message: ControlMessage) -> ControlApplied:
    return ControlApplied(offset=offset, message=message)


def override(offset: int, to: float | None) -> ControlApplied:
    message = Override(strategy="s", instrument="X", expects=-1, who="me", reason="test", ts=0, target=to)
    return said_by(offset, message)


def codes(alerts: list[Alert]) -> list[str]:
    return [alert.code for alert in alerts]
