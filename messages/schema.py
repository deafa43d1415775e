"""JSON Schema 2020-12 of the messages, made from the registry: what outside clients build on."""

import inspect
from typing import Any

import msgspec
from msgspec import Struct

from messages.topics import TOPICS, Topic

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_ID = "urn:tickpilot:messages"
ABOUT = """\
Every message of tickpilot's topics. A record's value is one JSON object whose `type` names the message; with the
header `content-type: application/msgpack` it is the same object as a msgpack map, bytes as bin instead of base64.
Numbers are finite float64 (`format: double`) or integers within the bounds given; an integer has no fraction and no
exponent, and of duplicate keys the last counts. Unknown fields are allowed and ignored. A `type` that the topic doesn't
name fits none of these schemas; readers ignore it, so that a later version can add messages. `topics.NAME` is what a
topic holds."""


def json_schema() -> Schema:
    """Return one JSON Schema (2020-12): any message, with `$defs` of each and `topics.NAME` for each topic."""
    messages = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in message_types()]
    topics = {topic_definition(name): _of_topic(topic) for name, topic in TOPICS.items()}
    return {
        "$schema": DIALECT,
        "$id": SCHEMA_ID,
        "title": "tickpilot messages",
        "description": ABOUT,
        "anyOf": messages,
        "$defs": {**definitions("#/$defs/{name}"), **topics},
    }


def topic_definition(topic: str) -> str:
    """Return the name under `$defs` of what a topic holds."""
    return f"topics.{topic}"


def message_types() -> list[type[Struct]]:
    """Return the registered messages, each once, in the order of the topics."""
    return list(dict.fromkeys(kind for topic in TOPICS.values() for kind in topic.messages))


def definitions(ref_template: str) -> dict[str, Schema]:
    """Return the schema of every message and of every part of one; `ref_template` has `{name}` in it."""
    _, components = msgspec.json.schema_components(message_types(), ref_template=ref_template)
    return {name: _published(schema) for name, schema in components.items()}


def _of_topic(topic: Topic) -> Schema:
    return {
        "title": f"topic {topic.name}",
        "description": f"Key: {topic.key}. {roles(topic)}",
        "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in topic.messages],
    }


def roles(topic: Topic) -> str:
    """Return who writes and who reads a topic, as a sentence."""
    return f"Written by {', '.join(topic.written_by)}; read by {', '.join(topic.read_by)}."


def _published(node: Any) -> Any:
    """Return msgspec's schema in words that every JSON Schema tool knows, and with what msgspec leaves unsaid."""
    if isinstance(node, list | tuple):  # the default of a tuple is one
        return [_published(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _published(value) for key, value in node.items() if key != "discriminator"}  # OpenAPI's word
    if "enum" in schema and len(schema["enum"]) == 1:
        schema["const"] = schema.pop("enum")[0]
    if isinstance(schema.get("description"), str):
        schema["description"] = inspect.cleandoc(schema["description"])
    if schema.get("type") == "number":
        schema["format"] = "double"
    if "properties" in schema and schema.get("type") == "object":
        schema.setdefault("additionalProperties", True)
    return schema
