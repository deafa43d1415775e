"""The published schema as a judge of records: compiled once, one message type at a time."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema
import msgspec

from messages import TOPICS, Record
from messages.codec import CONTENT_TYPE, MSGPACK
from messages.schema import json_schema

_SCHEMA = json_schema()
_KINDS = {name: {kind.__name__ for kind in topic.messages} for name, topic in TOPICS.items()}


@cache
def validator(definition: str) -> jsonschema.Draft202012Validator:
    """Return the validator of one entry of `$defs`."""
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": _SCHEMA["$defs"]})


def parsed(record: Record) -> Any:
    """Return a record's value as plain JSON, whatever format its header names."""
    assert record.value is not None
    if dict(record.headers).get(CONTENT_TYPE) == MSGPACK:
        return json.loads(msgspec.json.encode(msgspec.msgpack.decode(record.value)))
    return json.loads(record.value)


def wrong_with(topic: str, message: Any) -> str | None:
    """Return what the published schema has against a message on a topic, or None."""
    kind = message.get("type") if isinstance(message, dict) else None
    if kind not in _KINDS[topic]:
        return f"{topic}: type {kind!r} is none of {sorted(_KINDS[topic])}"
    error = next(iter(validator(kind).iter_errors(message)), None)
    return None if error is None else f"{topic}: {kind}{error.json_path[1:]}: {error.message[:200]}"


def wrong_in(records: Iterable[Record]) -> list[str]:
    """Return what is wrong with each record that does not fit its topic; tombstones fit."""
    found = ((record, wrong_with(record.topic, parsed(record))) for record in records if record.value is not None)
    return [f"{record.partition}:{record.offset} {wrong}" for record, wrong in found if wrong is not None]
