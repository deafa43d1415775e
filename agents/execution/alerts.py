"""What a shard, or a replica, tells people: Alerts, of facts that the core found."""

from agents.execution.shard.intake import Turn
from agents.execution.shard.notices import Disputed, FellBack, Notice, Throttled, Unanswered
from messages import Alert

BEGUN, ENDED = "BAD_INPUT", "INPUT_GOOD_AGAIN"
FELL_BACK = "POLICY_FALLBACK"
UNANSWERED, ANSWERED = "ORDER_UNANSWERED", "ORDER_ANSWERED"
DISPUTED = "REPORT_DISPUTED"
THROTTLED = "REPEATED_EXECUTION"
RISK_MISSED, RISK_BACK = "RISK_HEARTBEAT_MISSED", "RISK_HEARTBEAT_BACK"


def alert_of(notice: Notice, partition: int, agent_id: str) -> Alert:
    """Return the alert of a notice. An end has the id of its beginning: the newest of the two stays on `risk`."""
    match notice:
        case Turn():
            return _input_turned(notice, partition, agent_id)
        case FellBack():
            return _fell_back(notice, agent_id)
        case Unanswered():
            return _unanswered(notice, agent_id)
        case Disputed():
            return _disputed(notice, agent_id)
        case Throttled():
            return _throttled(notice, agent_id)


def risk_alert(*, alive: bool, timeout_ms: int, agent_id: str, at_ns: int) -> Alert:
    """Return the alert of a replica that misses Risk's heartbeat, or sees it again."""
    text = (
        "Risk's heartbeat is back: orders pass again"
        if alive
        else f"no heartbeat of Risk within {timeout_ms} ms: only orders that reduce a position pass until it is back; "
        "others are denied RISK_AWAY. Look whether `tickpilot run risk` is up"
    )
    return Alert(
        alert_id=f"risk-heartbeat/{agent_id}",
        ts=at_ns,
        agent_id=agent_id,
        severity="info" if alive else "critical",
        code=RISK_BACK if alive else RISK_MISSED,
        text=text,
    )


def _input_turned(turn: Turn, partition: int, agent_id: str) -> Alert:
    bad, place = turn.unreadable, f"{turn.topic}-{partition}"
    if turn.has_begun:
        text = (
            f"{place}: {bad.count} records since offset {bad.first_offset} could not be read, the newest: {bad.reason}"
            "; only orders that reduce a position pass until the topic can be read again; see dead-letters"
        )
    else:
        seconds = (turn.at_ns - bad.since_ns) / 1e9
        text = (
            f"{place}: can be read again; {bad.count} records since offset {bad.first_offset} could not be in "
            f"{seconds:.1f} s, the newest: {bad.reason}"
        )
    return Alert(
        alert_id=f"bad-input/{place}/{bad.first_offset}",
        ts=turn.at_ns,
        agent_id=agent_id,
        severity="critical" if turn.has_begun else "info",
        code=BEGUN if turn.has_begun else ENDED,
        text=text,
    )


def _fell_back(fell: FellBack, agent_id: str) -> Alert:
    trades = (
        f"bundle {fell.now}, which traded before, trades"
        if fell.now is not None
        else "there is no bundle before it: the position is being closed, and nothing trades"
    )
    text = (
        f"{fell.strategy} {fell.instrument}: bundle {fell.failed} failed {fell.errors} times in a row, last at "
        f"market offset {fell.offset} (denied POLICY_ERROR); now {trades} until another is activated"
    )
    return Alert(
        alert_id=f"policy-fallback/{fell.instrument}/{fell.offset}",
        ts=fell.at_ns,
        agent_id=agent_id,
        severity="critical",
        code=FELL_BACK,
        text=text,
        instrument=fell.instrument,
    )


def _unanswered(order: Unanswered, agent_id: str) -> Alert:
    text = (
        f"{order.instrument}: order {order.order_id} was not answered within {order.timeout_ms} ms, its cancel is "
        "asked for; only exits pass until a report arrives, others are denied AWAITING_REPORT"
        if order.has_begun
        else f"{order.instrument}: order {order.order_id} is answered at last"
    )
    return Alert(
        alert_id=f"unanswered/{order.order_id}",
        ts=order.at_ns,
        agent_id=agent_id,
        severity="critical" if order.has_begun else "info",
        code=UNANSWERED if order.has_begun else ANSWERED,
        text=text,
        instrument=order.instrument,
    )


def _throttled(throttled: Throttled, agent_id: str) -> Alert:
    scope = f"instrument:{throttled.instrument}"
    return Alert(
        alert_id=f"throttled/{throttled.order_id}",
        ts=throttled.at_ns,
        agent_id=agent_id,
        severity="critical",
        code=THROTTLED,
        text=(
            f"{throttled.strategy} {throttled.instrument}: {throttled.orders} orders within {throttled.window_ms} ms "
            "have closed the repeated-execution throttle: only exits pass, others are denied REPEATED_EXECUTION. Risk "
            f"halts the instrument; when you know why there were so many: `tickpilot resume --scope {scope}`. If no "
            f"Halt has come: `tickpilot halt --scope {scope}` first"
        ),
        instrument=throttled.instrument,
    )


def _disputed(report: Disputed, agent_id: str) -> Alert:
    return Alert(
        alert_id=f"disputed/{report.instrument}/{report.exec_id}"[:128],
        ts=report.at_ns,
        agent_id=agent_id,
        severity="critical",
        code=DISPUTED,
        text=(
            f"{report.instrument}: {report.reason}; only exits pass, others are denied REPORT_DISPUTED, until a person "
            f"has looked and says so: `tickpilot resume --scope instrument:{report.instrument}`"
        ),
        instrument=report.instrument,
    )
