"""`tickpilot topics`: creates, lists, and says what differs on a cluster that somebody made by hand."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from agents.cli.topics import app
from messages import TOPICS
from messages.bus.cluster import ShardsDiffer, remedies
from tests.waiting import eventually

SHARDS = 3
Run = Callable[..., tuple[int, str]]


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid4().hex[:12]}-"


@pytest.fixture
def run(kafka_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in (("BUS", kafka_url), ("PREFIX", prefix), ("SHARDS", str(SHARDS))):
        monkeypatch.setenv(f"TICKPILOT_{name}", value)
    return invoke


@pytest.fixture
def by_hand(kafka_url: str, prefix: str) -> Callable[..., None]:
    admin = AdminClient({"bootstrap.servers": kafka_url.removeprefix("kafka://"), "log_level": 2})

    def make(topic: str, partitions: int, **config: str) -> None:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        new = NewTopic(prefix + topic, num_partitions=partitions, replication_factor=1, config=settings)
        for created in admin.create_topics([new]).values():
            created.result(timeout=20)
        eventually(lambda: prefix + topic in admin.list_topics(timeout=20).topics, what=f"{topic} is there")

    return make


def test_the_list_is_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKPILOT_SHARDS", "7")
    code, output = invoke("list", "--json")
    listed: list[dict[str, Any]] = msgspec.json.decode(output)
    assert code == 0
    assert [topic["name"] for topic in listed] == list(TOPICS)
    market = listed[0]
    assert (market["partitions"], market["cleanup"], market["retention_ms"]) == (7, "delete", 604_800_000)
    assert market["messages"] == ["Quote", "Trade", "Bar", "Observation"]
    assert {topic["retention_ms"] for topic in listed if topic["name"] in {"control", "status"}} == {-1}
    code, output = invoke("list")
    assert code == 0
    assert "partitions=7 cleanup=delete kept=7d" in output
    assert "control       key=switch partitions=1 cleanup=delete kept=forever" in output


@pytest.mark.kafka
def test_create_makes_what_is_missing_as_registered_and_again_nothing(run: Run) -> None:
    code, output = run("create", "--json")
    assert code == 0
    assert msgspec.json.decode(output) == {"created": list(TOPICS), "differs": {}}
    assert run("create") == (0, "all topics exist\n")
    assert run("check") == (0, "all topics are as registered\n")


@pytest.mark.kafka
def test_check_says_what_differs_and_what_to_do_and_create_alters_nothing(
    run: Run, by_hand: Callable[..., None], prefix: str
) -> None:
    by_hand("market", SHARDS, retention_ms="60000")  # and no LogAppendTime
    by_hand("checkpoints", SHARDS, cleanup_policy="delete", segment_bytes="1048576")
    by_hand("status", 2, cleanup_policy="compact")
    differs = {
        "market": ["retention.ms=60000, must be 604800000", "message.timestamp.type=CreateTime, must be LogAppendTime"],
        "checkpoints": [
            "cleanup.policy=delete, must be compact",
            "segment.bytes=1048576, must be 33554432",
            "segment.ms=604800000, must be 3600000",
        ],
        "status": ["2 partitions, must be 1"],
    }
    code, output = run("check", "--json")
    found = msgspec.json.decode(output)
    assert code == 1
    assert {name: each for name, each in found.items() if each != ["missing"]} == differs
    assert found.keys() == TOPICS.keys()

    code, output = run("create")
    assert code == 1
    assert output.startswith("created orders, ")
    code, output = run("check")
    assert code == 1
    assert output.splitlines()[:3] == [
        f"{name}: {'; '.join(differs[name])}" for name in ("market", "checkpoints", "status")
    ]
    assert f"--entity-name {prefix}market --add-config retention.ms=604800000,message.timestamp.type=LogApp" in output
    assert "-> status must have one partition" in output


@pytest.mark.kafka
def test_another_number_of_shards_is_refused_and_nothing_is_created(run: Run, by_hand: Callable[..., None]) -> None:
    by_hand("orders", 5)
    with pytest.raises(ShardsDiffer, match="set `shards: 5`"):
        run("create")
    code, output = run("check")
    assert code == 1
    assert "orders: 5 partitions, must be 3" in output
    assert "market: missing" in output
    assert "-> the number of shards is fixed when topics are created: set `shards: 5` in the settings" in output


def test_topics_that_do_not_agree_on_the_shards_are_told_so() -> None:
    found = remedies({"market": ["2 partitions, must be 3"], "orders": ["4 partitions, must be 3"]})
    assert len(found) == 1
    assert "delete the sharded topics, which do not agree, or take another `prefix` and create anew" in found[0]
