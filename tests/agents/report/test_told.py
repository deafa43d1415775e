from typing import Any

from agents.report.page import format_page
from agents.report.summary import Summary
from agents.report.told import MOST, told
from messages import Adjust, Alert, Flatten, Halt, Limits, Override, Resume
from tests.agents.report.run_log import BEGIN_NS, SECOND_NS, RunLog

NOTHING = Summary(
    ticks=0,
    decisions=0,
    orders=0,
    fills=0,
    denials={},
    lost_ticks=0,
    duplicate_orders=0,
    swaps=0,
    swap_us=None,
    staging_ms=None,
    pnl={},
    decision_us=None,
    orders_digest="0" * 64,
)


def at(seconds: int) -> int:
    return BEGIN_NS + seconds * SECOND_NS


def test_what_people_and_agents_said_is_told_in_order_of_time() -> None:
    log = RunLog()
    by: Any = {"who": "ann", "reason": "because"}
    for message in (
        Halt(scope="portfolio", level="halted", writer="risk-1", reason="DRAWDOWN limit=0.2 value=0.3", ts=at(2)),
        Resume(scope="portfolio", clears=(0,), ts=at(9), **by),
        Flatten(scope="strategy:s", on=True, ts=at(4), **by),
        Flatten(scope="strategy:s", on=False, ts=at(5), **by),
        Override(strategy="s", instrument="BTC", expects=-1, ts=at(6), target=0.5, **by),
        Override(strategy="s", instrument="BTC", expects=4, ts=at(7), **by),
        Limits(version=1, changes={"defaults.max_position": 2.0}, ts=at(8), **by),
        Adjust(adjust_id="a", ts=at(10), cash=-5.0, **by),
        Adjust(adjust_id="b", ts=at(11), instrument="BTC", quantity=1.0, price=1.0, **by),
    ):
        log.append("control", message)
    alert = Alert(alert_id="x", ts=at(3), agent_id="risk-1", severity="critical", code="DRAWDOWN", text="limit=0.2")
    log.append("risk", alert)
    said = told(log)
    assert [one.what for one in said] == [
        "Halt halted, portfolio",
        "DRAWDOWN",
        "Flatten strategy:s",
        "Flatten strategy:s, off",
        "Override BTC, target 0.5",
        "Override BTC, released",
        "Limits defaults.max_position 2",
        "Resume portfolio",
        "Adjust cash -5",
        "Adjust BTC +1",
    ]
    assert [one.is_bad for one in said] == [True, True] + 8 * [False]
    assert (said[0].time, said[0].who) == ("2023-11-14 22:13:22", "risk-1")
    page = format_page(NOTHING, [], title="t", said=said)
    assert "risk-1: DRAWDOWN limit=0.2 value=0.3" in page
    assert "What was halted" not in format_page(NOTHING, [], title="t")


def test_of_very_many_the_newest_are_told() -> None:
    log = RunLog()
    for n in range(MOST + 5):
        log.append("risk", Alert(alert_id=f"{n}", ts=at(n), agent_id="r", severity="info", code="X", text=f"{n}"))
    assert [one.text for one in told(log)] == [str(n) for n in range(5, MOST + 5)]
