"""The published schema: valid itself, and true of what is encoded."""

import json

import jsonschema
import pytest

from messages import Halt, Quote, encode
from messages.schema import json_schema
from messages.topics import TOPICS


def test_the_schema_is_a_valid_schema_and_has_every_message() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    kinds = {kind.__name__ for topic in TOPICS.values() for kind in topic.messages}
    assert kinds <= schema["$defs"].keys()


def test_encoded_messages_fit_their_topics_and_others_do_not() -> None:
    schema = json_schema()
    quote = Quote(instrument="X", ts_recv=1, bid=1.0, bid_size=1.0, ask=2.0, ask_size=1.0)
    halt = Halt(scope="portfolio", level="halted", writer="me", reason="test", ts=1)
    market = {"$ref": "#/$defs/topics/market", **schema}
    jsonschema.Draft202012Validator(market).validate(json.loads(encode(quote)))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(market).validate(json.loads(encode(halt)))
