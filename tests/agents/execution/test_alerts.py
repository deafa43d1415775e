"""Alerts against the page for operators: every code stands there, and every code there exists."""

import re
from pathlib import Path

from agents.execution import alerts
from messages import DenialCode

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operating.md"
CODES = {
    alerts.BEGUN,
    alerts.ENDED,
    alerts.FELL_BACK,
    alerts.UNANSWERED,
    alerts.ANSWERED,
    alerts.DISPUTED,
    alerts.THROTTLED,
    alerts.RISK_MISSED,
    alerts.RISK_BACK,
}


def test_the_page_for_operators_names_every_alert_and_no_other() -> None:
    assert {name for name, value in vars(alerts).items() if name.isupper() and value in CODES} == {
        name for name in vars(alerts) if name.isupper()
    }
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGE.read_text()))
    assert named == CODES


def test_the_denials_that_it_names_exist() -> None:
    denied = set(re.findall(r"`denied ([A-Z_]+)`", PAGE.read_text()))
    assert denied == {
        DenialCode.POLICY_ERROR,
        DenialCode.AWAITING_REPORT,
        DenialCode.REPORT_DISPUTED,
        DenialCode.REPEATED_EXECUTION,
        DenialCode.RISK_AWAY,
        DenialCode.BAD_INPUT,
        DenialCode.REDUCE_ONLY,
        DenialCode.HALTED,
    }
