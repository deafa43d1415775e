"""Risk is killed: under load Execution only reduces, and says so; started again, it has the same books."""

import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from agents.execution.alerts import RISK_BACK, RISK_MISSED
from tests.checker import steps_of
from tests.drills.exactness.world import SHARDS
from tests.drills.risk.fleet import Fleet
from tests.drills.risk.form import Findings
from tests.drills.risk.world import INSTRUMENTS, RISK_TIMEOUT_MS
from tests.journeys.cluster import last_snapshot
from tests.journeys.plain_kafka import Json, Log
from tests.journeys.processes import run_command

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

_CENT = Decimal("0.005")
_LATE_S = 10.0  # a busy machine's timer; the drill judges what is sent, the figures say when


def test_without_risks_heartbeat_only_exits_are_sent_until_it_is_back(
    fleet: Fleet, findings: Callable[[str], Findings]
) -> None:
    found = findings("risk killed")
    missed_s, back_s = [], []
    fleet.start_load(found.form.rate_hz)
    for _ in range(found.form.outages):
        killed_ns = fleet.kill_risk()
        alert = _wait_alert(fleet, RISK_MISSED, killed_ns)
        missed_s.append((alert["ts"] - killed_ns) / 1e9)
        fleet.wait_risk_away(killed_ns)
        fleet.read_for(0.5)
        status = json.loads(run_command("status", "--json", "--settings", str(fleet.cluster.settings_file)))
        if not any(RISK_MISSED in json.dumps(told) for told in status["alerts"]):
            found.problems.append(f"`tickpilot status` says nothing of it: {status}")
        started_ns = time.time_ns()
        fleet.start_risk()
        _wait_alert(fleet, RISK_BACK, started_ns)
        back_s.append(fleet.expect_orders(INSTRUMENTS))
    found.problems += fleet.stop_load()
    fleet.log.read_to_end()
    denied = [code for code in _denials(fleet.log) if code == "RISK_AWAY"]
    found.note("outages", found.form.outages, "")
    found.note("risk killed to the alert, slowest", max(missed_s), "s", most=RISK_TIMEOUT_MS / 1e3 + _LATE_S)
    found.note("risk is back to an order of every instrument, slowest", max(back_s), "s")
    found.note("entries denied RISK_AWAY", len(denied), "")
    found.forbid("outages without any denial", [] if denied else ["nothing was denied RISK_AWAY"])
    found.forbid("orders that do not reduce, while Risk was silent", _entries(fleet.log))
    assert not found.problems, "\n".join(found.problems)


def test_a_killed_risk_finds_the_same_books(fleet: Fleet, findings: Callable[[str], Findings]) -> None:
    found = findings("risk restarted")
    took_s = []
    for _ in range(found.form.outages):
        fleet.start_load(found.form.rate_hz)
        found.problems += fleet.stop_load()
        fleet.log.read_to_end()
        fleet.wait(lambda _: _has_booked(fleet), "Risk has booked everything")
        before = last_snapshot(fleet.log)
        assert before is not None
        _wait_alert(fleet, RISK_MISSED, fleet.kill_risk())  # else it may be back before anybody has missed it
        began_s, began_ns = time.monotonic(), time.time_ns()
        after = _start_and_look(fleet)
        took_s.append(time.monotonic() - began_s)
        found.forbid("figures that differ after a restart", _differences(before, after))
        wrong = abs(fleet.books.cash - Decimal(repr(after["cash"])))
        found.forbid("cash that is not the reports'", [] if wrong < _CENT else [f"{wrong} off"])
        _wait_alert(fleet, RISK_BACK, began_ns)
    halts = [f"{halt}" for halt in fleet.log.of("control", "Halt") if halt["writer"] == "risk-1"]
    found.forbid("halts of Risk", halts)
    found.note("kill to the first snapshot, slowest", max(took_s), "s")
    assert not found.problems, "\n".join(found.problems)


def _wait_alert(fleet: Fleet, code: str, since_ns: int) -> Json:
    """Return the first alert of that code after a time."""
    fleet.wait(lambda _: _alerts(fleet, code, since_ns), f"the alert {code}")
    return _alerts(fleet, code, since_ns)[0]


def _start_and_look(fleet: Fleet) -> Json:
    """Start Risk; return its first snapshot."""
    seen = len(fleet.log.of("risk", "RiskSnapshot"))
    fleet.start_risk()
    fleet.wait(lambda log: len(log.of("risk", "RiskSnapshot")) > seen, "a snapshot after the restart")
    return fleet.log.of("risk", "RiskSnapshot")[seen]


def _alerts(fleet: Fleet, code: str, since_ns: int) -> list[Json]:
    return [alert for alert in fleet.log.of("risk", "Alert") if alert["code"] == code and alert["ts"] > since_ns]


def _has_booked(fleet: Fleet) -> bool:
    """Whether Risk's last snapshot holds what the reports add up to."""
    snapshot = last_snapshot(fleet.log)
    if snapshot is None:
        return False
    held = {view["instrument"]: view["quantity"] for view in snapshot["positions"] if view["quantity"]}
    return (
        held == fleet.books.positions(INSTRUMENTS) and abs(fleet.books.cash - Decimal(repr(snapshot["cash"]))) < _CENT
    )


def _differences(before: Json, after: Json) -> list[str]:
    return [
        f"{name}: {before.get(name)} before, {after.get(name)} after"
        for name in sorted((before.keys() | after.keys()) - {"ts"})
        if before.get(name) != after.get(name)
    ]


def _denials(log: Log) -> list[str]:
    return [
        decision["denial"]["code"]
        for batch in log.of("decisions", "DecisionBatch")
        for logged in batch["steps"]
        for decision in logged.get("decisions", ())
        if "denial" in decision
    ]


def _entries(log: Log) -> list[str]:
    """Return the orders of steps without Risk that do more than bring a position nearer to zero."""
    wrong = []
    for shard in range(SHARDS):
        reports = log.topic("reports", shard)
        is_alive, held, read_to = False, dict[str, float](), 0
        totals: dict[str, float] = {}
        for logged in steps_of(log.topic("decisions", shard))[0]:
            for entry in logged["step"].get("inputs", ()):
                if entry["type"] == "RiskAlive":
                    is_alive = entry["alive"]
            while read_to < logged["step"]["reports_to"]:
                _hold(json.loads(reports[read_to].value or b"{}"), totals, held)
                read_to += 1
            for order in logged.get("orders", ()):
                if order["type"] != "Order" or is_alive:
                    continue
                position = held.get(order["instrument"], 0.0)
                signed = order["quantity"] if order["side"] == "buy" else -order["quantity"]
                if not (position * signed < 0 and abs(signed) <= abs(position) + 1e-9):
                    wrong.append(f"shard {shard}: order {order['seq']} of {signed:g} at a position of {position:g}")
    return wrong


def _hold(report: Json, totals: dict[str, float], held: dict[str, float]) -> None:
    total: Any = report["cumulative_quantity"] if report["side"] == "buy" else -report["cumulative_quantity"]
    held[report["instrument"]] = held.get(report["instrument"], 0.0) + total - totals.get(report["order_id"], 0.0)
    totals[report["order_id"]] = total
