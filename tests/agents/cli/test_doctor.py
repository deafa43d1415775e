"""`tickpilot doctor` and `tickpilot run --check` as a stranger uses them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from messages import (
    Alert,
    ClientState,
    Clock,
    DeadLetter,
    Halt,
    Heartbeat,
    NewRecord,
    Partition,
    SystemClock,
    connect,
    control_key,
    encode,
    status_key,
)
from messages.bus.cluster import create_topics
from tests.clusters import Heard
from tests.rules.tree import ROOT


def tickpilot(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agents", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def doctor(**environment: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the findings by check."""
    done = tickpilot("doctor", "--json", **environment)
    answer = msgspec.json.decode(done.stdout)
    assert answer["needs_a_person"] == (done.returncode == 1)
    return done.returncode, {finding["check"]: finding for finding in answer["findings"]}


def test_in_memory_there_is_nothing_to_see() -> None:
    done = tickpilot("doctor", TICKPILOT_BUS="memory://")
    assert done.returncode == 0
    assert "nothing to see from here" in done.stdout
    assert "TICKPILOT_BUS" in done.stdout


def test_a_cluster_that_is_not_there_needs_a_person() -> None:
    status, findings = doctor(TICKPILOT_BUS="kafka://127.0.0.1:9")
    assert status == 1
    assert "nobody listens on 127.0.0.1:9" in findings["bus"]["found"]


@pytest.mark.kafka
def test_a_cluster_without_topics_says_how_to_make_them(kafka_url: str) -> None:
    status, findings = doctor(TICKPILOT_BUS=kafka_url, TICKPILOT_PREFIX=f"none-{uuid4().hex[:8]}-")
    assert status == 1
    assert "topics create" in findings["topic market"]["remedy"]


@pytest.mark.kafka
async def test_what_is_wrong_on_a_cluster_is_found(kafka_url: str) -> None:
    prefix = f"doctor-{uuid4().hex[:8]}-"
    environment = {"TICKPILOT_BUS": kafka_url, "TICKPILOT_PREFIX": prefix, "TICKPILOT_SHARDS": "2"}
    clock: Clock = SystemClock()
    bus = connect(kafka_url, prefix=prefix)
    await create_topics(bus, shards=2, log_id="a" * 32)
    producer = await bus.producer()

    async def say(topic: str, key: str, message: Any) -> None:
        await producer.publish(topic, NewRecord(key=key.encode(), value=encode(message)))

    async def beat(agent_id: str, age_s: int, **fields: Any) -> None:
        ts = clock.now_ns() - age_s * 10**9
        message = Heartbeat(agent_id=agent_id, agent=agent_id.split("-", maxsplit=1)[0], state="live", ts=ts, **fields)
        await say("status", status_key(message), message)

    stalled = ClientState(name="market", kind="member", state="stalled", reason="stands at 4", since_ns=clock.now_ns())
    for agent in ("risk-1", "orchestrator-1"):
        await beat(agent, -120)  # alive until the test is over
    await beat("execution-1", -120, partitions=(0, 1))
    await producer.publish("market", NewRecord(key=b"X", value=b"{}"), partition=1)
    member = await bus.subscribe(["market"], "execution", Heard())
    (record,) = await member.poll(timeout_s=20)
    await member.commit({Partition("market", record.partition): 1})
    await member.stop()

    status, findings = doctor(**environment)
    assert status == 0, findings
    assert findings["execution-1"]["found"] == "alive, live, shards 0, 1"
    assert findings["market"]["found"] == "Execution is 0 records behind"

    await beat("execution-1", -120, partitions=(0,), clients=(stalled,))
    await beat("risk-1", 30)
    halt = Halt(scope="portfolio", level="halted", writer="ann", reason="drill", ts=clock.now_ns())
    await say("control", control_key(halt), halt)
    told: list[tuple[Any, str]] = [("warning", "LOSS_STREAK"), ("critical", "DRAWDOWN")]
    for severity, code in told:
        alert = Alert(
            alert_id=code, ts=clock.now_ns(), agent_id="risk-1", severity=severity, code=code, text="limit=3 value=4"
        )
        await say("risk", code, alert)
    letter = DeadLetter(
        topic="market", partition=1, offset=0, reason="no type", agent_id="execution-1", ts=clock.now_ns()
    )
    await say("dead-letters", "market", letter)
    await producer.publish("market", NewRecord(key=b"X", value=b"{}"), partition=1)
    await bus.stop()

    status, findings = doctor(**environment)
    assert status == 1
    assert "stands at 4" in findings["execution-1 member market"]["found"]
    assert "silent for" in findings["risk-1"]["found"]
    assert findings["shards"]["found"] == "nobody trades 1 of 2"
    assert "portfolio is halted by ann: drill" in findings["halt"]["found"]
    assert "no type" in findings["dead-letters"]["found"]
    assert (findings["alert DRAWDOWN"]["level"], findings["alert LOSS_STREAK"]["level"]) == ("wrong", "warning")
    assert "by risk-1: limit=3 value=4" in findings["alert DRAWDOWN"]["found"]
    assert findings["market"]["found"] == "Execution is 1 records behind"
    assert all(finding["remedy"] for finding in findings.values() if finding["level"] == "wrong")


def test_run_check_shows_the_settings_without_the_secrets(tmp_path: Path) -> None:
    login = {
        "TICKPILOT_SECURITY__MECHANISM": "SCRAM-SHA-512",
        "TICKPILOT_SECURITY__USERNAME": "alice",
        "TICKPILOT_SECURITY__PASSWORD": "hunter2",
        "TICKPILOT_SECURITY__TLS": "true",
    }
    done = tickpilot("run", "all", "--check", "--json", **login)
    assert done.returncode == 0
    assert msgspec.json.decode(done.stdout)["security"]["username"] == "alice"
    assert "hunter2" not in done.stdout + done.stderr
    wrong = tickpilot("run", "all", "--check", **login, TICKPILOT_SECURITY__CA_FILE=str(tmp_path / "none.pem"))
    assert wrong.returncode == 1
    assert "security.ca_file" in wrong.stderr
    assert "hunter2" not in wrong.stdout + wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
