"""The published schema: valid itself, true of what is encoded, and of one mind with the decoder."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli.schema import app
from messages import (
    TOPICS,
    BadMessage,
    DeadLetter,
    DecisionBatch,
    Halt,
    Order,
    Quote,
    Record,
    UnknownMessage,
    decode,
    encode,
)
from messages.codec import MSGPACK, MSGPACK_HEADER
from messages.schema import json_schema, message_types
from tests.builders import record
from tests.message_examples import KINDS, bad_ones, fullest, smallest
from tests.schemas import validator, wrong_in, wrong_with

TOPIC_OF = {kind: name for name, topic in TOPICS.items() for kind in topic.messages}
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from nodes(value)


def test_the_schema_is_a_valid_schema_and_has_every_message_and_topic() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {kind.__name__ for kind in message_types()} <= schema["$defs"].keys()
    assert {f"topics.{name}" for name in TOPICS} <= schema["$defs"].keys()
    references = {node["$ref"] for node in nodes(schema) if isinstance(node.get("$ref"), str)}
    assert references <= {f"#/$defs/{name}" for name in schema["$defs"]}


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(app, ["json"])
    assert json.loads(result.output) == json_schema()


def test_words_that_only_openapi_knows_are_not_in_it_and_tags_are_constants() -> None:
    schema = json_schema()
    assert not any("discriminator" in node for node in nodes(schema))
    for kind in KINDS:
        definition = schema["$defs"][kind.__name__]
        assert definition["properties"]["type"] == {"const": kind.__name__}
        assert "type" in definition["required"]
        assert definition["additionalProperties"] is True


def test_integers_have_bounds_and_numbers_are_float64() -> None:
    for node in nodes(json_schema()):
        if node.get("type") == "integer":
            assert -(2**63) <= node["minimum"] <= node["maximum"] < 2**63, node
        if node.get("type") == "number":
            assert node["format"] == "double"


@every_kind
@pytest.mark.parametrize("example", [smallest, fullest])
def test_an_encoded_message_fits_its_topic_and_is_decoded(kind: type[msgspec.Struct], example: Any) -> None:
    message = example(kind)
    topic = TOPIC_OF[kind]
    encoded = json.loads(encode(message))
    assert wrong_with(topic, encoded) is None
    validator(f"topics.{topic}").validate(encoded)
    jsonschema.Draft202012Validator(json_schema()).validate(encoded)
    assert decode(topic, encode(message)) == message
    assert decode(topic, encode(message, MSGPACK), (MSGPACK_HEADER,)) == message


@every_kind
def test_decoder_and_schema_refuse_the_same(kind: type[msgspec.Struct]) -> None:
    topic = TOPIC_OF[kind]
    count = 0
    for why, bad in bad_ones(kind, json.loads(encode(fullest(kind)))):
        assert not validator(f"topics.{topic}").is_valid(bad), f"the schema takes it though {why}"
        with pytest.raises(BadMessage):
            pytest.fail(f"decoded though {why}: {decode(topic, json.dumps(bad).encode())}")
        count += 1
    assert count >= 4


@every_kind
def test_decoder_and_schema_take_unknown_fields(kind: type[msgspec.Struct]) -> None:
    topic = TOPIC_OF[kind]
    message = smallest(kind)
    grown = {**json.loads(encode(message)), "of_tomorrow": {"deep": [1, None]}}
    assert wrong_with(topic, grown) is None
    assert decode(topic, json.dumps(grown).encode()) == message


def test_an_unknown_type_is_ignored_by_readers_and_not_in_the_schema() -> None:
    tomorrow = {"type": "Auction", "instrument": "X"}
    assert decode("market", json.dumps(tomorrow).encode()) == UnknownMessage("Auction")
    assert not validator("topics.market").is_valid(tomorrow)


def test_a_message_of_another_topic_does_not_fit() -> None:
    quote = Quote(instrument="X", ts_recv=1, bid=1.0, bid_size=1.0, ask=2.0, ask_size=1.0)
    halt = Halt(scope="portfolio", level="halted", writer="me", reason="test", ts=1)
    assert validator("topics.market").is_valid(json.loads(encode(quote)))
    assert not validator("topics.market").is_valid(json.loads(encode(halt)))


def test_the_judge_of_the_integration_tests_sees_through_both_formats_and_lets_dead_letters_be() -> None:
    good = fullest(Quote)
    bad = msgspec.structs.replace(good, bid_size=-1.0)
    records = [
        record(good, 0),
        record(msgspec.json.encode(bad), 1),
        record(b"{", 2),
        Record(**fields(encode(good, MSGPACK)), offset=3, headers=(MSGPACK_HEADER,)),
        Record(**fields(msgspec.msgpack.encode(bad)), offset=4, headers=(MSGPACK_HEADER,)),
        Record(**fields(None), offset=5),
        record(good, 6, topic="control"),
    ]
    assert [wrong.split(" ")[0] for wrong in wrong_in(records)] == ["0:1", "0:2", "0:4", "0:6"]
    letter = msgspec.structs.replace(smallest(DeadLetter), topic="market", partition=0, offset=2)
    assert len(wrong_in([*records, record(letter, 0, topic="dead-letters")])) == 3


def fields(value: bytes | None) -> dict[str, Any]:
    return {"topic": "market", "partition": 0, "timestamp_ms": 0, "key": b"X", "value": value}


def test_the_judge_looks_into_the_log_header_of_orders() -> None:
    order = record(fullest(Order), 0, topic="orders")
    assert wrong_in([msgspec.structs.replace(order, headers=(("log", encode(fullest(DecisionBatch))),))]) == []
    assert wrong_in([msgspec.structs.replace(order, headers=(("log", b'{"type":"DecisionBatch"}'),))]) != []
