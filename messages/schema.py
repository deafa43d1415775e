"""The published form of the messages, made from the registry."""

from typing import Any

import msgspec

from messages.topics import TOPICS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return one JSON Schema (2020-12): `$defs` of every message, and for each topic the messages that it holds."""
    kinds = list(dict.fromkeys(kind for topic in TOPICS.values() for kind in topic.messages))
    _, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    topics = {
        name: {"anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in topic.messages]}
        for name, topic in TOPICS.items()
    }
    return {"$schema": DIALECT, "title": "tickpilot messages", "$defs": {**definitions, "topics": topics}}
