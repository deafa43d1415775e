"""Active, reducing, halted: what passes, and the reason that stands in the log and in an Alert."""

import pytest
from msgspec.structs import replace

from agents.execution.alerts import alert_of, risk_alert
from agents.execution.shard import Shard
from agents.execution.shard.intake import DeadLetterLimits
from messages import Alert, Cancel, Halt, LoggedStep, Order, Record, ReportStatus, Resume
from messages.decisions import ControlApplied, RiskAlive, StepInput, Timer
from tests.agents.execution.stepping import FLAT, LONG, SHORT, advance, codes, filled, orders, said, said_by
from tests.builders import SECOND, START_NS, Scripted, bundle, quote, ready_inputs, record, report, shard

LATER = START_NS + 2 * SECOND


def live(*answers: float, **config: object) -> Shard:
    target = shard(bundle(Scripted(*answers)), **config)  # type: ignore[arg-type]
    advance(target, [], *ready_inputs())
    return target


def holding(*answers: float, **config: object) -> Shard:
    """A shard that is long 3 and then answers these."""
    target = live(LONG, *answers, **config)
    opened = advance(target, [quote()])
    advance(target, [], reports=filled(target, opened))
    return target


def alerts(target: Shard) -> list[Alert]:
    return [alert_of(notice, 0, "execution-1") for notice in target.take_notices()]


def halt(level: str, offset: int = 7) -> ControlApplied:
    return said_by(
        offset,
        Halt(scope="portfolio", level="halted" if level == "halted" else "reducing", writer="r", reason="t", ts=0),
    )


def resume(*clears: int, offset: int = 8) -> ControlApplied:
    return said_by(offset, Resume(scope="portfolio", clears=clears, who="me", reason="looked", ts=0))


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        ((halt("halted"),), "HALTED"),
        ((halt("reducing"),), "REDUCE_ONLY"),
        ((RiskAlive(alive=False),), "RISK_AWAY"),
        ((halt("reducing"), RiskAlive(alive=False)), "REDUCE_ONLY"),
    ],
)
def test_an_entry_is_denied_and_the_denial_names_the_cause(cause: tuple[StepInput, ...], code: str) -> None:
    target = live(LONG)
    logged = advance(target, [quote()], *cause)
    assert said(logged) == [code]
    assert logged.decisions[0].target == 3


@pytest.mark.parametrize("cause", [halt("reducing"), RiskAlive(alive=False)])
def test_while_reducing_an_exit_passes_and_a_flip_does_not(cause: StepInput) -> None:
    assert orders(advance(holding(1.0), [quote()], cause)) == [("sell", 3.0, "bundle-aaaa")]
    assert advance(holding(SHORT), [quote()], cause).orders == ()


def test_risks_silence_ends_with_its_heartbeat_and_a_halt_does_not() -> None:
    target = live(LONG)
    assert said(advance(target, [quote()], RiskAlive(alive=False))) == ["RISK_AWAY"]
    assert said(advance(target, [quote()], halt("reducing"), RiskAlive(alive=True))) == ["REDUCE_ONLY"]
    assert said(advance(target, [quote()], resume(7))) == ["order"]


def test_risks_silence_is_named_before_unreadable_input() -> None:
    target = live(LONG, dead_letters=DeadLetterLimits(max_run=3, min_records=10))
    assert said(advance(target, [b"{"] * 3 + [quote()]))[-1] == "BAD_INPUT"
    assert said(advance(target, [quote()], RiskAlive(alive=False))) == ["RISK_AWAY"]


def test_the_alert_of_risks_silence_says_what_passes_and_its_return_replaces_it() -> None:
    missed, back = (
        risk_alert(alive=alive, timeout_ms=5_000, agent_id="execution-1", at_ns=START_NS) for alive in (False, True)
    )
    assert (missed.code, missed.severity) == ("RISK_HEARTBEAT_MISSED", "critical")
    assert "no heartbeat of Risk within 5000 ms: only orders that reduce a position pass" in missed.text
    assert (back.code, back.severity, back.alert_id) == ("RISK_HEARTBEAT_BACK", "info", missed.alert_id)


def test_a_silent_venue_is_told_once_denied_by_name_and_over_with_its_report() -> None:
    target = live(LONG, SHORT, order_timeout_ms=1_000)
    opened = advance(target, [quote()])
    late = advance(target, [quote()], at_ns=LATER)
    assert [type(message) for message in late.orders] == [Cancel]
    assert said(late) == ["AWAITING_REPORT"]
    (begun,) = alerts(target)
    assert (begun.code, begun.severity, begun.instrument) == ("ORDER_UNANSWERED", "critical", "X")
    assert "was not answered within 1000 ms" in begun.text
    advance(target, [quote()], at_ns=LATER + SECOND)
    assert alerts(target) == []
    answered = advance(target, [quote()], reports=filled(target, opened), at_ns=LATER + SECOND)
    assert said(answered) == ["order"]
    (ended,) = alerts(target)
    assert (ended.code, ended.severity, ended.alert_id) == ("ORDER_ANSWERED", "info", begun.alert_id)


def disputed(target: Shard) -> list[Record]:
    """A report whose quantity is no whole number of lots."""
    order = advance(target, [quote()]).orders[0]
    assert not isinstance(order, Cancel)
    return [record(report(order, filled=0.3), target.reports_to, topic="reports")]


def test_a_disputed_report_bars_entries_by_name_until_a_person_has_looked() -> None:
    target = live(LONG, SHORT)
    reports = disputed(target)
    assert said(advance(target, [quote()], reports=reports)) == ["REPORT_DISPUTED"]
    (alert,) = alerts(target)
    assert (alert.code, alert.severity) == ("REPORT_DISPUTED", "critical")
    assert "tickpilot resume --scope instrument:X" in alert.text
    assert said(advance(target, [quote()])) == ["REPORT_DISPUTED"]
    assert said(advance(target, [quote()], resume())) == ["order"]
    assert codes(alerts(target)) == []


@pytest.mark.parametrize("status", [ReportStatus.FILLED, ReportStatus.REJECTED])
def test_a_report_of_an_order_that_was_never_sent_is_disputed_and_moves_nothing(status: ReportStatus) -> None:
    target = holding(LONG, SHORT)
    order = target.ledger.holding("s", "X")
    strange = replace(report(_an_order()), order_id="NEVERSENT", exec_id="e9", status=status)
    reports = [record(strange, target.reports_to, topic="reports")]
    assert said(advance(target, [quote()], reports=reports)) == ["hold"]
    (alert,) = alerts(target)
    assert (alert.code, "order NEVERSENT is not known: it was never sent from here" in alert.text) == (
        "REPORT_DISPUTED",
        True,
    )
    assert target.ledger.holding("s", "X") == order


def test_a_report_that_comes_again_after_the_end_of_its_order_is_no_dispute() -> None:
    target = live(LONG, LONG, LONG)
    reports = filled(target, advance(target, [quote()]))
    for _ in range(2):
        again = [replace(reports[0], offset=target.reports_to)]
        advance(target, [quote()], reports=again)
    assert alerts(target) == []


def _an_order() -> Order:
    """What another shard like this has sent."""
    (sent,) = [m for m in advance(live(LONG), [quote()]).orders if isinstance(m, Order)]
    return sent


def test_a_halt_cancels_what_is_open_and_nothing_else_is_told_of_it() -> None:
    target = live(LONG)
    advance(target, [quote()])
    logged = advance(target, [], halt("halted"))
    assert [getattr(message, "reason", "") for message in logged.orders] == ["halted"]
    assert alerts(target) == []
    assert advance(target, [], Timer(), at_ns=LATER).orders == ()


def test_an_entry_that_rests_when_only_exits_may_trade_is_cancelled_and_an_exit_stays() -> None:
    entering = live(LONG)
    resting = _resting(entering, advance(entering, [quote()]))
    assert advance(entering, [], halt("reducing")).orders == ()  # on its way: it may be a fill by now
    assert _reasons(advance(entering, [], reports=resting)) == ["only what reduces may trade"]
    leaving = live(LONG, FLAT)
    bought = filled(leaving, advance(leaving, [quote()]))
    sold = _resting(leaving, advance(leaving, [quote()], reports=bought))
    assert advance(leaving, [], halt("reducing"), reports=sold).orders == ()


def test_a_resting_order_that_would_turn_the_position_is_cancelled_when_risk_falls_silent() -> None:
    target = live(LONG, SHORT)
    bought = filled(target, advance(target, [quote()]))
    sold = _resting(target, advance(target, [quote()], reports=bought))
    logged = advance(target, [], RiskAlive(alive=False), reports=sold)
    assert _reasons(logged) == ["only what reduces may trade"]


def _resting(target: Shard, logged: LoggedStep) -> list[Record]:
    """The venue has the step's order, and nothing of it is filled."""
    (sent,) = [message for message in logged.orders if isinstance(message, Order)]
    return [record(report(sent, status=ReportStatus.NEW, filled=0.0), target.reports_to, topic="reports")]


def _reasons(logged: LoggedStep) -> list[str]:
    return [message.reason for message in logged.orders if isinstance(message, Cancel)]
