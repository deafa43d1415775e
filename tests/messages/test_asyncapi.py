"""The AsyncAPI document: accepted by a public validator, and the registry in other words."""

import copy
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from msgspec import Struct
from pydantic import ValidationError
from typer.testing import CliRunner

from agents.cli.schema import app
from messages import TOPICS, encode
from messages.asyncapi import asyncapi
from tests.message_examples import KINDS, fullest, smallest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # fields named `schema` shadow an old method of pydantic's
    from asyncapi3.models.asyncapi import AsyncAPI3

Document = dict[str, Any]


def document() -> Document:
    return asyncapi(version="1.2.3", shards=12, replication=3, prefix="x-", brokers=("a:9092", "b:9092"))


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(value)


def at(node: Document, reference: str) -> Any:
    for key in reference.removeprefix("#/").split("/"):
        node = node[key]
    return node


def test_a_public_validator_accepts_the_document_and_knows_every_field() -> None:
    written = document()
    read = AsyncAPI3.model_validate(written)
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == written


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bad: bad["channels"]["market"].update(bogus=1),
        lambda bad: bad["operations"]["feeders-send-market"].update(action="shout"),
        lambda bad: bad["channels"]["market"]["bindings"]["kafka"].update(partitions="all"),
        lambda bad: bad["channels"]["market"]["bindings"]["kafka"]["topicConfiguration"].update(
            {"cleanup.policy": ["burn"]}
        ),
        lambda bad: bad["components"]["messages"]["market-Quote"].update(payloads={}),
        lambda bad: bad["info"].pop("title"),
        lambda bad: bad["servers"]["kafka-1"].pop("protocol"),
    ],
)
def test_the_validator_catches_bad_samples(spoil: Callable[[Document], object]) -> None:
    bad = copy.deepcopy(document())
    spoil(bad)
    with pytest.raises(ValidationError):
        AsyncAPI3.model_validate(bad)


def test_every_reference_leads_somewhere() -> None:
    written = document()
    for node in nodes(written):
        if "$ref" in node:
            assert at(written, node["$ref"]), node["$ref"]


def test_channels_are_the_topics_as_they_are_created() -> None:
    channels = document()["channels"]
    assert channels.keys() == TOPICS.keys()
    market, checkpoints = channels["market"], channels["checkpoints"]
    assert market["address"] == "x-market"
    assert market["messages"].keys() == {"Quote", "Trade", "Bar", "Observation"}
    assert market["bindings"]["kafka"] == {
        "topic": "x-market",
        "partitions": 12,
        "replicas": 3,
        "topicConfiguration": {
            "cleanup.policy": ["delete"],
            "retention.ms": 604_800_000,
            "message.timestamp.type": "LogAppendTime",
        },
        "bindingVersion": "0.5.0",
    }
    assert checkpoints["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] == ["compact"]
    assert channels["control"]["bindings"]["kafka"]["partitions"] == 1
    assert channels["control"]["bindings"]["kafka"]["topicConfiguration"]["retention.ms"] == -1


def test_each_writer_sends_and_each_reader_receives() -> None:
    operations = document()["operations"]
    uses = {
        (operation["action"], operation["channel"]["$ref"].removeprefix("#/channels/"), name.split("-send-")[0])
        for name, operation in operations.items()
        if operation["action"] == "send"
    }
    assert ("send", "orders", "execution") in uses
    assert ("send", "reports", "venue-adapters") in uses
    assert operations["venue-adapters-receive-orders"]["action"] == "receive"
    assert len(operations) == sum(len(topic.written_by) + len(topic.read_by) for topic in TOPICS.values())
    assert [message["$ref"] for message in operations["execution-send-decisions"]["messages"]] == [
        "#/channels/decisions/messages/DecisionBatch",
        "#/channels/decisions/messages/Claim",
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_payloads_are_draft_7_and_hold_what_is_encoded(kind: type[Struct]) -> None:
    written = document()
    jsonschema.Draft7Validator.check_schema(written["components"]["schemas"][kind.__name__])
    payload = {"$ref": f"#/components/schemas/{kind.__name__}", "components": written["components"]}
    for message in (smallest(kind), fullest(kind)):
        jsonschema.Draft7Validator(payload).validate(json.loads(encode(message)))


def test_headers_and_keys_are_described() -> None:
    written = document()
    order = written["components"]["messages"]["orders-Order"]
    headers = at(written, order["headers"]["$ref"])
    assert headers["properties"].keys() == {"content-type", "traceparent", "log"}
    assert headers["properties"]["content-type"]["default"] == order["contentType"] == "application/json"
    assert "instrument" in order["bindings"]["kafka"]["key"]["description"]
    quote = at(written, written["components"]["messages"]["market-Quote"]["headers"]["$ref"])
    assert "log" not in quote["properties"]


def test_the_command_prints_the_settings_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKPILOT_BUS", "kafka://one:9092,two:9093")
    monkeypatch.setenv("TICKPILOT_SHARDS", "7")
    result = CliRunner().invoke(app, ["asyncapi"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    AsyncAPI3.model_validate(printed)
    assert [server["host"] for server in printed["servers"].values()] == ["one:9092", "two:9093"]
    assert printed["channels"]["market"]["bindings"]["kafka"]["partitions"] == 7
    assert {server["protocol"] for server in printed["servers"].values()} == {"kafka"}
    monkeypatch.setenv("TICKPILOT_SECURITY__TLS", "true")
    secure = json.loads(CliRunner().invoke(app, ["asyncapi"]).output)
    assert {server["protocol"] for server in secure["servers"].values()} == {"kafka-secure"}
