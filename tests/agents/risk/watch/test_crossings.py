"""Each crossing of a limit is told once, and its end once."""

import pytest

from agents.risk.watch.crossings import Breach, Crossings, alert_of
from messages import Alert

SECOND = 1_000_000_000
OVER = Breach(code="GROSS_EXPOSURE", text="limit=1 value=2", level="reducing")
STALE = Breach(code="STALE_MARKET", text="BTC limit=1 ms age=2 ms", instrument="BTC")


def crossings() -> Crossings:
    return Crossings("risk-1", hold_ms=10_000)


def told(subject: Crossings, breaches: list[Breach], at_s: int) -> tuple[list[str], list[str]]:
    fresh, ended = subject.take(breaches, at_s * SECOND)
    return [breach.code for breach in fresh], [alert.code for alert in ended]


def test_what_stays_passed_is_told_once_and_its_end_once_after_the_hold() -> None:
    subject = crossings()
    assert told(subject, [OVER], 0) == (["GROSS_EXPOSURE"], [])
    assert told(subject, [OVER], 1) == ([], [])
    assert told(subject, [], 2) == ([], [])
    assert told(subject, [], 11) == ([], [])
    assert told(subject, [], 12) == ([], ["GROSS_EXPOSURE_ENDED"])
    assert told(subject, [], 30) == ([], [])
    assert told(subject, [OVER], 31) == (["GROSS_EXPOSURE"], [])


def test_a_figure_that_trembles_around_its_limit_is_told_once() -> None:
    subject = crossings()
    found = [told(subject, [OVER] if second % 2 == 0 else [], second) for second in range(100)]
    assert found == [(["GROSS_EXPOSURE"], []), *[([], [])] * 99]


def test_after_a_resume_the_next_crossing_is_a_new_one_but_what_is_still_passed_is_not() -> None:
    subject = crossings()
    told(subject, [OVER, STALE], 0)
    subject.resumed()
    assert told(subject, [STALE], 1) == ([], ["GROSS_EXPOSURE_ENDED"])
    assert told(subject, [OVER, STALE], 2) == (["GROSS_EXPOSURE"], [])
    assert told(subject, [], 3) == ([], [])


def test_an_end_has_the_id_of_its_beginning_and_the_instrument() -> None:
    subject = crossings()
    subject.take([STALE], 0)
    subject.take([], 1)
    _, (end,) = subject.take([], 20 * SECOND)
    began = alert_of(STALE, "risk-1", 0)
    assert (end.alert_id, end.instrument, end.severity) == (began.alert_id, "BTC", "info")
    assert began.severity == "warning"


def test_limits_of_several_subjects_are_independent() -> None:
    subject = crossings()
    other = Breach(code="STALE_MARKET", text="t", instrument="ETH")
    assert told(subject, [STALE], 0) == (["STALE_MARKET"], [])
    assert told(subject, [STALE, other], 1) == (["STALE_MARKET"], [])


def event(code: str = "BAD_REPORT") -> Breach:
    return Breach(code=code, text="t", level="halted", instrument="BTC")


@pytest.mark.parametrize("agent_id", ["risk-1", "risk-2"])
def test_a_restart_goes_on_from_its_own_alerts(agent_id: str) -> None:
    first = crossings()
    alerts: list[Alert] = []
    for second, breaches in enumerate([[OVER, STALE], [OVER], [OVER]]):
        fresh, ended = first.take(breaches, second * 20 * SECOND)
        alerts += [alert_of(breach, "risk-1", 0) for breach in fresh] + ended
    alerts.append(alert_of(event(), "risk-1", 0))
    second_run = Crossings(agent_id, hold_ms=0)
    second_run.restore(alerts)
    fresh, ended = second_run.take([OVER, STALE], 100 * SECOND)
    is_mine = agent_id == "risk-1"
    assert [breach.code for breach in fresh] == (["STALE_MARKET"] if is_mine else ["GROSS_EXPOSURE", "STALE_MARKET"])
    assert ended == []


def test_what_has_happened_once_has_an_id_of_its_own_each_time() -> None:
    assert alert_of(event(), "risk-1", 1).alert_id != alert_of(event(), "risk-1", 2).alert_id
