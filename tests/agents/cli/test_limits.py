"""`tickpilot limits` and the limits that `run --check` shows, as an operator uses them; the bus is a real Kafka."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli import limits as commands
from agents.cli.main import app
from agents.settings import Settings, read_settings
from messages import TOPICS, Limits, NewRecord, connect, control_key, encode
from messages.control import ControlMessage

BY = ("--who", "ann", "--reason", "drill")
AAA = {"instrument": "AAA", "price_step": 0.01, "quantity_step": 0.1}
SETTINGS = {
    "shards": 2,
    "instruments": [AAA],
    "strategies": {"momentum": ["AAA"]},
    "limits": {"defaults": {"max_position": 2.0}, "portfolio": {"max_gross_exposure": 900_000.0}},
}


@pytest.fixture
def settings(tmp_path: Path, kafka_url: str) -> Path:
    """Settings over topics of their own."""
    prefix = f"limits-{secrets.token_hex(4)}-"

    async def create() -> None:
        bus = connect(kafka_url, prefix=prefix)
        await bus.create_topics([TOPICS["control"]], shards=1)
        await bus.stop()

    asyncio.run(create())
    return written(tmp_path, bus=kafka_url, prefix=prefix)


def written(folder: Path, **more: Any) -> Path:
    path = folder / "settings.yaml"
    path.write_bytes(msgspec.yaml.encode(SETTINGS | more))
    return path


def run(settings: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "-s", str(settings)])
    return result.exit_code, result.output or str(result.exception)


def show(settings: Path) -> dict[str, Any]:
    code, output = run(settings, "limits", "show", "--json")
    assert code == 0, output
    found: dict[str, Any] = msgspec.json.decode(output)
    return found


def test_run_check_shows_what_holds_for_each_pair_the_portfolio_and_each_shard(tmp_path: Path) -> None:
    path = written(tmp_path)
    code, text = run(path, "run", "all", "--check")
    assert code == 0
    lines = [line.split() for line in text.splitlines()]
    assert ["order", "limits", "momentum", "AAA"] in lines
    assert ["max_position", "2"] in lines
    assert ["max_order_quantity", "no", "limit"] in lines
    assert ["max_gross_exposure", "450,000"] in lines  # the shard's share
    assert ["max_gross_exposure", "900,000"] in lines  # the portfolio's
    assert ["0", "50.00%", "450,000", "50.00%", "1,000,000", "AAA"] in lines
    assert ["1", "50.00%", "450,000", "50.00%", "1,000,000", "-"] in lines
    code, text = run(path, "run", "all", "--check", "--json")
    effective = msgspec.json.decode(text)["effective_limits"]
    (pair,) = effective["pairs"]
    assert (pair["strategy"], pair["instrument"], pair["shard"]) == ("momentum", "AAA", 0)
    assert (pair["limits"]["max_position"], pair["limits"]["max_order_quantity"]) == (2.0, None)
    assert effective["portfolio"]["max_gross_exposure"] == 900_000.0
    assert [share["max_gross_exposure"] for share in effective["shares"]] == [450_000.0, 450_000.0]


def test_run_check_names_what_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path, limits={"instruments": {"AAB": {"max_position": 1.0}}})
    code, text = run(path, "run", "all", "--check")
    assert code == 1
    assert "instruments.AAB is none that the settings know; did you mean AAA?" in text
    code, text = run(written(tmp_path, venue={"latency_file": str(tmp_path / "none.txt")}), "run", "all", "--check")
    assert code == 1
    assert "none.txt" in text


@pytest.mark.kafka
def test_a_change_is_in_force_until_the_next_one(settings: Path) -> None:
    assert show(settings)["version"] == 0
    code, text = run(settings, "limits", "set", "defaults.max_position=1.5", "instruments.AAA.max_open_orders=32", *BY)
    assert code == 0, text
    assert text.splitlines() == [
        "defaults.max_position: 2 -> 1.5 (stricter)",
        "instruments.AAA.max_open_orders: 16 -> 32 (looser)",
        "written at control offset 0, version 1",
    ]
    assert run(settings, "limits", "set", "defaults.max_position=1.8", *BY)[0] == 0
    found = show(settings)
    assert (found["version"], found["changes"]) == (
        2,
        {"defaults.max_position": 1.8, "instruments.AAA.max_open_orders": 32.0},
    )
    assert found["pairs"][0]["limits"]["max_position"] == 1.8
    assert "defaults.max_position = 1.8 by ann: drill" in run(settings, "limits", "show")[1]


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("defaults.max_positon=1", "did you mean max_position"),
        ("defaults.max_position=0.01", "below quantity_step"),
        ("instruments.AAB.max_position=1", "did you mean AAA"),
        ("defaults.max_position=nan", "must be finite"),
        ("shares.0.gross=1", "Risk moves shares"),
        ("max_position=1", "is no `defaults.LIMIT`"),
    ],
)
def test_an_impossible_change_is_refused_before_it_is_written(settings: Path, change: str, said: str) -> None:
    code, text = run(settings, "limits", "set", change, *BY)
    assert code == 1
    assert said in text
    assert show(settings)["version"] == 0


@pytest.mark.kafka
def test_an_impossible_record_on_the_topic_changes_nothing_but_takes_its_version(settings: Path) -> None:
    assert run(settings, "limits", "set", "defaults.max_position=1.5", *BY)[0] == 0
    wrong = Limits(version=2, changes={"defaults.max_position": -1.0}, who="bob", reason="oops", ts=0)
    asyncio.run(_write(read_settings(settings, {}), wrong))
    assert "defaults.max_position = 1.5 by ann: drill" in run(settings, "limits", "show")[1]
    assert "version 3" in run(settings, "limits", "set", "defaults.max_position=1.4", *BY)[1]


@pytest.fixture
def racing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Limits], None]:
    """Let somebody else write first, once."""

    def race(other: Limits) -> None:
        rivals = [other]

        async def write(loaded: Settings, *messages: ControlMessage) -> list[int]:
            return [(await _write(loaded, message)) for message in (*[rivals.pop() for _ in rivals[:]], *messages)][-1:]

        monkeypatch.setattr(commands, "write_control", write)

    return race


async def _write(loaded: Settings, message: ControlMessage) -> int:
    bus = connect(loaded.bus, prefix=loaded.prefix)
    try:
        producer = await bus.producer()
        offset = await producer.publish("control", NewRecord(key=control_key(message).encode(), value=encode(message)))
        await producer.stop()
    finally:
        await bus.stop()
    return offset


@pytest.mark.kafka
def test_a_race_with_a_move_of_shares_is_run_again_and_both_count(
    settings: Path, racing: Callable[[Limits], None]
) -> None:
    racing(Limits(version=1, changes={"shares.0.gross": 0.25}, who="risk-1", reason="r", ts=0))
    code, text = run(settings, "limits", "set", "defaults.max_position=1", *BY)
    assert code == 0, text
    assert "written at control offset 2, version 2" in text
    assert show(settings)["changes"] == {"defaults.max_position": 1.0, "shares.0.gross": 0.25}


@pytest.mark.kafka
def test_a_race_for_the_same_limit_is_lost_and_says_to_whom(settings: Path, racing: Callable[[Limits], None]) -> None:
    racing(Limits(version=1, changes={"defaults.max_position": 1.9}, who="bob", reason="less", ts=0))
    code, text = run(settings, "limits", "set", "defaults.max_position=1", *BY, "--json")
    assert code == 1
    assert "bob has changed defaults.max_position at the same moment (less)" in msgspec.json.decode(text)["error"]
    assert show(settings)["changes"] == {"defaults.max_position": 1.9}
