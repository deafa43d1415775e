"""What the cluster's own words say about its health: alive, silent, stalled, orphaned, behind, halted."""

from typing import Any

from agents.lifecycle.checkup import (
    alert_line,
    judge_agents,
    judge_alerts,
    judge_halts,
    judge_lag,
    judge_letters,
    judge_shards,
    recent_alerts,
)
from messages import Alert, ClientState, DeadLetter, Heartbeat
from messages.bus.checks import Finding
from messages.control_fold import HaltInForce

NOW = 1_790_000_000 * 10**9
SECOND = 10**9


def beat(agent_id: str = "execution-1", *, age_s: float = 1, **fields: Any) -> Heartbeat:
    known: dict[str, Any] = {
        "agent": agent_id.split("-", maxsplit=1)[0],
        "state": "live",
        "ts": NOW - round(age_s * SECOND),
    }
    return Heartbeat(agent_id=agent_id, **(known | fields))


def of(findings: list[Finding], check: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


def test_agents_are_alive_or_silent_for_so_long() -> None:
    beats = [
        beat(partitions=(0, 2)),
        beat("risk-1", age_s=42),
        beat("venue-1", age_s=3 * 86_400),
        beat("feed-1", age_s=-5),
    ]
    findings = judge_agents(beats, NOW)
    assert of(findings, "execution-1").line == "execution-1: alive, live, shards 0, 2"
    assert of(findings, "risk-1").level == "wrong"
    assert "silent for 42.0 s" in of(findings, "risk-1").line
    assert "tickpilot run risk" in of(findings, "risk-1").line
    assert of(findings, "venue-1").level == "warning"
    assert "3 days" in of(findings, "venue-1").line
    assert of(findings, "feed-1").level == "ok"
    assert "no bundle rolls out" in of(findings, "orchestrator").line


def test_an_agent_that_recovers_is_a_warning() -> None:
    assert of(judge_agents([beat(state="recovering")], NOW), "execution-1").level == "warning"


def test_stalled_and_rebuilt_clients_and_a_late_loop_are_told_with_their_reason() -> None:
    clients = (
        ClientState(name="market", kind="member", state="stalled", reason="stands at 4", since_ns=NOW - 7 * SECOND),
        ClientState(name="status", kind="consumer", rebuilds=2),
        ClientState(name="shard-1", kind="owner", state="stalled", reason="fenced", since_ns=NOW),
    )
    findings = judge_agents([beat(clients=clients, loop_late_ms=900.0)], NOW)
    stalled = of(findings, "execution-1 member market")
    assert stalled.level == "wrong"
    assert "stalled for 7.0 s: stands at 4" in stalled.line
    assert "rebuilt by itself" in stalled.line
    assert "taken over" in of(findings, "execution-1 owner shard-1").line
    assert of(findings, "execution-1 consumer status").level == "warning"
    assert any("late by 900 ms" in finding.found for finding in findings)


def test_shards_have_one_owner_each() -> None:
    two = [beat(partitions=(0, 1)), beat("execution-2", partitions=(2, 3))]
    assert judge_shards(two, 4, NOW) == [Finding(check="shards", level="ok", found="all 4 have an owner")]
    orphaned = [two[0], beat("execution-2", partitions=(2, 3), age_s=30)]
    (finding,) = judge_shards(orphaned, 4, NOW)
    assert (finding.level, finding.found) == ("wrong", "nobody trades 2, 3 of 4")
    (finding,) = judge_shards([two[0], beat("execution-2", state="recovering")], 4, NOW)
    assert finding.level == "warning"
    (finding,) = judge_shards([*two, beat("execution-3", partitions=(3,))], 4, NOW)
    assert "two replicas say that they hold 3" in finding.found
    assert judge_shards([], 1, NOW)[0].level == "wrong"


def test_lag_is_told_and_too_much_of_it_needs_a_person() -> None:
    assert judge_lag({0: (5, 10), 1: (None, 0)})[0].found == "Execution is 5 records behind"
    (finding,) = judge_lag({0: (5, 10), 1: (0, 50_000)})
    assert finding.level == "wrong"
    assert "partitions 1" in finding.found
    (finding,) = judge_lag({0: (None, 10)})
    assert (finding.level, finding.found) == ("warning", "10 records, and Execution has never committed any")
    assert judge_lag({0: (None, 0)})[0].level == "ok"


def test_dead_letters_of_late_are_told_by_topic_with_the_newest_reason() -> None:
    def letter(offset: int, age_s: int, reason: str) -> DeadLetter:
        return DeadLetter(
            topic="market", partition=1, offset=offset, reason=reason, agent_id="execution-1", ts=NOW - age_s * SECOND
        )

    assert judge_letters([letter(1, 7200, "old")], NOW)[0].level == "ok"
    (finding,) = judge_letters([letter(1, 7200, "old"), letter(2, 60, "a"), letter(3, 50, "b")], NOW)
    assert finding.level == "warning"
    assert "at least 2 of market within the hour, the newest market-1 at 3: b" in finding.line


def test_every_halt_waits_for_a_person() -> None:
    assert judge_halts([])[0].level == "ok"
    (finding,) = judge_halts([HaltInForce(scope="portfolio", writer="ann", level="halted", offset=3, reason="drill")])
    assert finding.level == "wrong"
    assert "portfolio is halted by ann: drill" in finding.line
    assert "tickpilot resume --scope portfolio" in finding.line


def alert(alert_id: str, age_s: float = 60, **fields: Any) -> Alert:
    known: dict[str, Any] = {"agent_id": "risk-1", "severity": "warning", "code": "LOSS_STREAK", "text": "limit=3"}
    return Alert(alert_id=alert_id, ts=NOW - round(age_s * SECOND), **(known | fields))


def test_alerts_of_the_hour_come_by_severity_and_the_newest_first() -> None:
    told = [
        alert("old", age_s=3_700, severity="critical"),
        alert("a", age_s=500),
        alert("b", age_s=300, severity="critical", code="DRAWDOWN", text="limit=0.2 value=0.25"),
        alert("c", age_s=200),
        alert("d", age_s=100, severity="info", code="LOSS_STREAK_ENDED"),
        alert("e", age_s=3_599, severity="critical", code="DAILY_LOSS"),
        alert("ahead", age_s=-5),
    ]
    assert [each.alert_id for each in recent_alerts(told, NOW)] == ["b", "e", "ahead", "c", "a", "d"]
    assert alert_line(told[2], NOW) == "critical DRAWDOWN 5 min ago by risk-1: limit=0.2 value=0.25"


def test_an_alert_that_has_ended_needs_nobody_and_a_critical_one_a_person() -> None:
    begun, ended = alert("a", severity="critical"), alert("a", severity="info", code="LOSS_STREAK_ENDED", age_s=5)
    assert [finding.level for finding in judge_alerts([begun], NOW)] == ["wrong"]
    assert [finding.level for finding in judge_alerts([alert("a")], NOW)] == ["warning"]
    assert (
        judge_alerts([begun, ended], NOW)
        == judge_alerts([], NOW)
        == [Finding(check="alerts", level="ok", found="none of late")]
    )
    assert judge_alerts([ended, begun], NOW)[0].line == (
        "alert LOSS_STREAK: LOSS_STREAK 60.0 s ago by risk-1: limit=3; "
        "docs/risk.md says what LOSS_STREAK means and how it ends"
    )
