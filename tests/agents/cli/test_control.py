"""What operators write to `control`, on a real Kafka, and what `tickpilot status` says of it."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli.main import app
from messages import TOPICS, Alert, NewRecord, Override, SystemClock, connect, control_key, encode
from messages.control_fold import NEVER

pytestmark = pytest.mark.kafka
BY = ("--who", "ann", "--reason", "drill")


@pytest.fixture
def settings(tmp_path: Path, kafka_url: str) -> Path:
    """Settings over topics of their own."""
    prefix = f"control-{secrets.token_hex(4)}-"

    async def create() -> None:
        bus = connect(kafka_url, prefix=prefix)
        await bus.create_topics([TOPICS[name] for name in ("control", "status", "risk")], shards=1)
        await bus.stop()

    asyncio.run(create())
    path = tmp_path / "settings.yaml"
    instrument = {"instrument": "AAA", "price_step": 0.01, "quantity_step": 0.1}
    path.write_bytes(
        msgspec.yaml.encode(
            {"bus": kafka_url, "prefix": prefix, "instruments": [instrument], "strategies": {"momentum": ["AAA"]}}
        )
    )
    return path


def run(settings: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "-s", str(settings)])
    return result.exit_code, result.output or str(result.exception)


def status(settings: Path) -> dict[str, Any]:
    code, output = run(settings, "status", "--json")
    assert code == 0, output
    found: dict[str, Any] = msgspec.json.decode(output)
    return found


def write(settings: Path, topic: str, *messages: Alert | Override) -> None:
    values = msgspec.yaml.decode(settings.read_bytes())

    async def publish() -> None:
        bus = connect(values["bus"], prefix=values["prefix"])
        producer = await bus.producer()
        for message in messages:
            key = message.alert_id if isinstance(message, Alert) else control_key(message)
            await producer.publish(topic, NewRecord(key=key.encode(), value=encode(message)))
        await bus.stop()

    asyncio.run(publish())


def test_a_halt_is_shown_until_it_is_resumed(settings: Path) -> None:
    assert run(settings, "halt", *BY)[0] == 0
    assert run(settings, "halt", "--reducing", "--scope", "instrument:AAA", *BY)[0] == 0
    assert status(settings)["halted"] == ["portfolio halted by ann: drill", "instrument:AAA reducing by ann: drill"]
    assert "cleared halted of ann" in run(settings, "resume", *BY)[1]
    assert status(settings)["halted"] == ["instrument:AAA reducing by ann: drill"]
    assert run(settings, "resume", *BY)[1] == "nothing halts portfolio\n"


def test_alerts_of_the_last_hour_are_shown_the_most_severe_first(settings: Path) -> None:
    assert status(settings)["alerts"] == []
    now_ns = SystemClock().now_ns()
    told: list[tuple[Any, int]] = [("warning", 60), ("critical", 120), ("critical", 7_200)]
    write(
        settings,
        "risk",
        *(
            Alert(
                alert_id=f"a{n}", ts=now_ns - age_s * 10**9, agent_id="risk-1", severity=severity, code="X", text="why"
            )
            for n, (severity, age_s) in enumerate(told)
        ),
    )
    assert [(alert["alert_id"], alert["severity"]) for alert in status(settings)["alerts"]] == [
        ("a1", "critical"),
        ("a0", "warning"),
    ]
    assert "critical X 2 min ago by risk-1: why" in run(settings, "status")[1]


def test_flattening_is_shown_until_it_is_switched_off(settings: Path) -> None:
    assert run(settings, "flatten", *BY)[0] == 0
    assert status(settings)["flattening"] == ["portfolio"]
    assert run(settings, "flatten", "--off", *BY)[0] == 0
    assert status(settings)["flattening"] == []


def test_an_override_holds_until_it_is_released(settings: Path) -> None:
    assert run(settings, "override", "AAA", "--target", "0.3", *BY)[0] == 0
    assert status(settings)["overridden"] == ["momentum AAA: 0.3"]
    assert run(settings, "override", "AAA", "--target", "-1.5", *BY)[0] == 0
    assert status(settings)["overridden"] == ["momentum AAA: -1.5"]
    assert run(settings, "override", "AAA", "--release", *BY)[0] == 0
    assert status(settings)["overridden"] == []


def test_an_override_counts_after_a_void_one(settings: Path) -> None:
    stale = Override(strategy="momentum", instrument="AAA", expects=77, who="bob", reason="late", ts=1, target=5.0)

    assert stale.expects != NEVER
    write(settings, "control", stale)
    assert status(settings)["overridden"] == []
    assert run(settings, "override", "AAA", "--target", "0.1", *BY)[0] == 0
    assert status(settings)["overridden"] == ["momentum AAA: 0.1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("AAA",), "either --target or --release"),
        (("AAA", "--target", "0.1", "--release"), "either --target or --release"),
        (("AAA", "--target", "0.15"), "quantity_step 0.1"),
        (("BBB", "--target", "0.1"), "not traded; the settings trade AAA"),
    ],
)
def test_an_override_that_makes_no_sense_writes_nothing(settings: Path, arguments: tuple[str, ...], said: str) -> None:
    code, output = run(settings, "override", *arguments, *BY)
    assert code == 1
    assert said in output
    assert status(settings)["overridden"] == []
