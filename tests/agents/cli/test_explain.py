"""`tickpilot explain`, from a recording and from a live Kafka."""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli.main import app
from agents.replay.explain import Explanation
from agents.replay.record import write_recording
from agents.settings import Settings, parse_settings
from messages import TOPICS, NewRecord, Order, OutcomeCode, Partition, Record, connect
from tests.agents.replay.decided_log import DecidedLog, trading
from tests.builders import quote

SETTINGS = {
    "instruments": [{"instrument": "X", "price_step": 0.5, "quantity_step": 1.0}],
    "strategies": {"s": ["X"]},
    "shards": 1,
    "limits": {"defaults": {"duplicate_window_ms": 0}},
}


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    return result.exit_code, result.output or str(result.exception)


def explained(*arguments: str | Path) -> list[Explanation]:
    code, output = run(*arguments, "--json")
    assert code == 0, output
    return msgspec.json.decode(output, type=list[Explanation])


@pytest.fixture(scope="module")
def log() -> DecidedLog:
    """An order, a hold, then a fill and an order back."""
    log = trading(2.0, 2.0, 1.0)
    order = log.step([quote(), quote()]).orders[0]
    assert isinstance(order, Order)
    log.checkpoint()
    log.step([quote()], fills=[order])
    return log


@pytest.fixture(scope="module")
def recording(log: DecidedLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("recordings") / "log"
    write_recording(directory, by_partition(log.records), settings=settings(), shards=1)
    return directory


def settings() -> Settings:
    return parse_settings(SETTINGS, where="of a test")


def by_partition(records: Sequence[Record]) -> dict[Partition, list[Record]]:
    found: dict[Partition, list[Record]] = {}
    for record in records:
        found.setdefault(Partition(record.topic, record.partition), []).append(record)
    return found


def test_a_record_an_order_and_the_newest_of_an_instrument_are_explained_from_a_recording(recording: Path) -> None:
    (first,) = explained("0", "0", "--from", recording)
    assert first.outcome is OutcomeCode.ORDER
    assert explained(first.orders[0].order_id, "--from", recording) == [first]
    newest = explained("--instrument", "X", "--last", "2", "--from", recording)
    assert [(each.offset, each.outcome) for each in newest] == [(1, OutcomeCode.HOLD), (2, OutcomeCode.ORDER)]
    assert newest[1].standing is not None
    assert newest[1].standing.position == 3


def test_people_read_facts_line_by_line_or_a_line_for_each_record(recording: Path) -> None:
    code, text = run("0", "2", "--from", recording)
    assert code == 0
    assert text.startswith("market 0/2: order: an order went out")
    assert "  position   3, in flight: 0 to buy, 0 to sell\n" in text
    _, lines = run("--instrument", "X", "--from", recording)
    assert [line.split()[0] for line in lines.splitlines()] == ["0/0", "0/1", "0/2"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name PARTITION OFFSET"),
        (("0", "0", "--instrument", "X"), "name PARTITION OFFSET"),
        (("ABC", "0"), "name PARTITION OFFSET"),
        (("ABC",), "'ABC' is no order"),
        (("7", "0"), "there are partitions 0 to 0, not 7"),
        (("--instrument", "NOBODY"), "no such record"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(recording: Path, arguments: tuple[str, ...], reason: str) -> None:
    code, output = run(*arguments, "--from", recording)
    assert code == 1
    assert reason in output


@pytest.mark.kafka
def test_a_live_bus_gives_the_same_explanations(
    kafka_url: str, log: DecidedLog, recording: Path, tmp_path: Path
) -> None:
    prefix = f"explain-{secrets.token_hex(4)}-"

    async def publish() -> None:
        bus = connect(kafka_url, prefix=prefix)
        await bus.create_topics(TOPICS.values(), shards=1)
        producer = await bus.producer()
        for record in log.records:
            await producer.publish(record.topic, NewRecord(key=record.key, value=record.value), partition=0)
        await producer.stop()
        await bus.stop()

    asyncio.run(publish())
    path = tmp_path / "settings.yaml"
    path.write_bytes(msgspec.yaml.encode({**SETTINGS, "bus": kafka_url, "prefix": prefix}))
    for asked in (("0", "2"), ("--instrument", "X", "--last", "2")):
        live = explained(*asked, "-s", path)
        kept = explained(*asked, "--from", recording)
        assert [without_times(each) for each in live] == [without_times(each) for each in kept]
    (last,) = explained("0", "2", "-s", path)
    assert explained(last.orders[0].order_id, "-s", path) == [last]


def without_times(found: Explanation) -> Explanation:
    return msgspec.structs.replace(found, timestamp_ms=None, age_ms=None)
