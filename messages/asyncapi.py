"""AsyncAPI 3.0 of the topics, made from the registry: channels, messages, who sends and who receives."""

import inspect
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from messages.codec import CONTENT_TYPE, JSON, MSGPACK
from messages.orders import LOG_HEADER
from messages.schema import ABOUT, Schema, definitions, roles
from messages.topics import TOPICS, Topic
from messages.trace import TRACEPARENT, TRACEPARENT_PATTERN

VERSION = "3.0.0"
KAFKA_BINDING = "0.5.0"
_HEADERS = "RecordHeaders"
_ORDER_HEADERS = "OrderHeaders"
_NUMBERS = frozenset({"retention.ms", "segment.bytes", "segment.ms", "delete.retention.ms"})


def asyncapi(
    *,
    version: str,
    shards: int,
    replication: int = 1,
    prefix: str = "",
    brokers: Sequence[str] = ("localhost:9092",),
    is_secure: bool = False,
) -> Schema:
    """Return the AsyncAPI 3.0 document of a cluster of `shards` shards whose topics' names begin with `prefix`.

    Payloads are in AsyncAPI's own schema format, a superset of draft-07; `json_schema` has the same in 2020-12.
    """
    channels = {name: _channel(topic, shards, replication, prefix) for name, topic in TOPICS.items()}
    messages = {_message_id(t, kind): _message(t, kind) for t in TOPICS.values() for kind in t.messages}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "tickpilot",
            "version": version,
            "description": ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON.decode(),
        "servers": {
            f"kafka-{number}": {"host": host, "protocol": "kafka-secure" if is_secure else "kafka"}
            for number, host in enumerate(brokers, 1)
        },
        "channels": channels,
        "operations": dict(_operation(*use) for topic in TOPICS.values() for use in _uses(topic)),
        "components": {"messages": messages, "schemas": {**_payloads(), **_headers()}},
    }


def _channel(topic: Topic, shards: int, replication: int, prefix: str) -> Schema:
    config = topic.broker_config()
    policy = {"cleanup.policy": config.pop("cleanup.policy").split(",")}
    kept: Schema = {key: int(value) if key in _NUMBERS else value for key, value in config.items()}
    binding = {
        "topic": prefix + topic.name,
        "partitions": topic.partitions(shards),
        "replicas": replication,
        "topicConfiguration": policy | kept,
        "bindingVersion": KAFKA_BINDING,
    }
    return {
        "address": prefix + topic.name,
        "title": topic.name,
        "description": f"Key: {topic.key}. {roles(topic)}",
        "messages": {
            kind.__name__: {"$ref": f"#/components/messages/{_message_id(topic, kind)}"} for kind in topic.messages
        },
        "bindings": {"kafka": binding},
    }


def _message_id(topic: Topic, kind: type[Struct]) -> str:
    """One message on two topics is two messages: their keys differ."""
    return f"{topic.name}-{kind.__name__}"


def _message(topic: Topic, kind: type[Struct]) -> Schema:
    description = inspect.cleandoc(kind.__doc__ or "")
    headers = _ORDER_HEADERS if topic.name == "orders" else _HEADERS
    return {
        "name": kind.__name__,
        "title": kind.__name__,
        "summary": description.partition("\n\n")[0].replace("\n", " "),
        "description": description,
        "contentType": JSON.decode(),
        "headers": {"$ref": f"#/components/schemas/{headers}"},
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"UTF-8: {topic.key}"},
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _uses(topic: Topic) -> list[tuple[Topic, str, str]]:
    return [(topic, role, "send") for role in topic.written_by] + [(topic, role, "receive") for role in topic.read_by]


def _operation(topic: Topic, role: str, action: str) -> tuple[str, Schema]:
    """Send and receive are the role's own: Execution sends orders."""
    channel = f"#/channels/{topic.name}"
    return f"{role.replace(' ', '-')}-{action}-{topic.name}", {
        "action": action,
        "title": f"{role} {action} {topic.name}",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{kind.__name__}"} for kind in topic.messages],
    }


def _payloads() -> Schema:
    return {name: _draft7(schema) for name, schema in definitions("#/components/schemas/{name}").items()}


def _draft7(node: Any) -> Any:
    """Return a 2020-12 schema of ours as draft-07 says it: tuples are the one difference that we use."""
    if isinstance(node, list):
        return [_draft7(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _draft7(value) for key, value in node.items()}
    if "prefixItems" in schema:
        schema["additionalItems"] = schema.get("items", True)
        schema["items"] = schema.pop("prefixItems")
    return schema


def _headers() -> dict[str, Schema]:
    common: Schema = {
        CONTENT_TYPE: {
            "type": "string",
            "enum": [JSON.decode(), MSGPACK.decode()],
            "default": JSON.decode(),
            "description": "format of the record's value",
        },
        TRACEPARENT: {
            "type": "string",
            "pattern": TRACEPARENT_PATTERN,
            "description": "W3C trace context, carried from the market record to its orders and their reports",
        },
    }
    log: Schema = {
        LOG_HEADER: {
            "type": "string",
            "description": "first record of a batch: a DecisionBatch (JSON) of all steps since the last such batch",
        }
    }
    return {
        _HEADERS: {"type": "object", "description": "Headers of a record; all are optional.", "properties": common},
        _ORDER_HEADERS: {
            "type": "object",
            "description": "Headers of a record of `orders`; all are optional.",
            "properties": common | log,
        },
    }
