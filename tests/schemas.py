"""The published schema as a judge of records: compiled once, fast enough for every record of a journey."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec

from messages import TOPICS, Record
from messages.codec import CONTENT_TYPE, MSGPACK
from messages.orders import LOG_HEADER
from messages.schema import json_schema

_SCHEMA = json_schema()
_KINDS = {name: {kind.__name__ for kind in topic.messages} for name, topic in TOPICS.items()}


@cache
def validator(definition: str) -> jsonschema_rs.Draft202012Validator:
    """Return the validator of one entry of `$defs`."""
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": _SCHEMA["$defs"]})


def parsed(record: Record) -> Any:
    """Return a record's value as plain JSON, whatever format its header names."""
    assert record.value is not None
    if dict(record.headers).get(CONTENT_TYPE) == MSGPACK:
        return json.loads(msgspec.json.encode(msgspec.msgpack.decode(record.value)))
    return json.loads(record.value)


def is_json(record: Record) -> bool:
    """Whether a record's value is JSON at all, or none, or in the other format."""
    try:
        return record.value is None or parsed(record) is not None
    except (ValueError, msgspec.DecodeError):
        return False


def wrong_with(topic: str, message: Any) -> str | None:
    """Return what the published schema has against a message on a topic, or None."""
    kind = message.get("type") if isinstance(message, dict) else None
    if kind not in _KINDS[topic]:
        return f"{topic}: type {kind!r} is none of {sorted(_KINDS[topic])}"
    error = next(iter(validator(kind).iter_errors(message)), None)
    return None if error is None else f"{topic}: {kind} at {error.instance_path}: {error.message[:200]}"


def wrong_in(records: Iterable[Record]) -> list[str]:
    """Return what does not fit its topic and why; tombstones and what is a dead letter are let be."""
    kept = list(records)
    letters = {place for record in kept if (place := _refused(record)) is not None}
    found = ((record, wrong_with_record(record)) for record in kept)
    return [
        f"{record.partition}:{record.offset} {wrong}"
        for record, wrong in found
        if wrong is not None and (record.topic, record.partition, record.offset) not in letters
    ]


def _refused(record: Record) -> tuple[str, int, int] | None:
    """Return the place of the record that a dead letter holds; it is known to be unfit."""
    if record.topic != "dead-letters" or record.value is None:
        return None
    letter = parsed(record)
    return letter["topic"], letter["partition"], letter["offset"]


def wrong_with_record(record: Record) -> str | None:
    """Return what the published schema has against a record, or None."""
    if record.value is None:
        return None
    try:
        wrong = wrong_with(record.topic, parsed(record))
        log = dict(record.headers).get(LOG_HEADER) if record.topic == "orders" else None
        return wrong if log is None or wrong is not None else wrong_with("decisions", json.loads(log))
    except (ValueError, msgspec.DecodeError) as error:
        return f"{record.topic}: {error}"
