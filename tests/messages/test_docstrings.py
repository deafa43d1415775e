"""Each message says who writes and who reads it, and each number says its unit."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from messages import TOPICS
from messages.schema import json_schema
from tests.message_examples import KINDS

SAYS = re.compile(r"Written by (?P<writers>[^;]+); read by (?P<readers>[^.]+?)(?:\.|, which)")


def names(listed: str) -> set[str]:
    return {re.sub(r" \(.*\)| on `.*", "", name) for name in re.split(r", | and (?!in )", listed)}


def wrong_roles(doc: str, writers: set[str], readers: set[str]) -> list[str]:
    """Return what a docstring says wrong of its writers and readers; a writer may read what it wrote."""
    found = SAYS.search(" ".join(doc.split()))
    if found is None:
        return ["does not say `Written by ...; read by ...`"]
    wrong = set() if "all" in writers else names(found["writers"]) - writers
    unread = set() if "all" in readers else names(found["readers"]) - readers - writers
    return sorted(f"{name} is no writer of its topics" for name in wrong) + sorted(
        f"{name} is no reader of its topics" for name in unread
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_message_says_who_writes_and_who_reads_it(kind: type[msgspec.Struct]) -> None:
    topics = [topic for topic in TOPICS.values() if kind in topic.messages]
    writers = {name for topic in topics for name in topic.written_by}
    readers = {name for topic in topics for name in topic.read_by}
    assert wrong_roles(kind.__doc__ or "", writers, readers) == []


def test_wrong_roles_are_caught() -> None:
    assert wrong_roles("A quote.", {"a"}, {"b"}) == ["does not say `Written by ...; read by ...`"]
    assert wrong_roles("Written by c; read by b, d.", {"a"}, {"b"}) == [
        "c is no writer of its topics",
        "d is no reader of its topics",
    ]


def unnamed_numbers(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the numbers without a description of their own or of the field that holds them."""
    if schema.get("type") in {"integer", "number"} and "description" not in schema:
        yield path
    if "description" in schema and schema.get("type") != "object":
        return
    for name, field in schema.get("properties", {}).items():
        yield from unnamed_numbers(field, f"{path}.{name}")
    inside = [schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())]
    for part in [*inside, *schema.get("prefixItems", ())]:
        if isinstance(part, dict):
            yield from unnamed_numbers(part, path)


def test_every_number_says_its_unit() -> None:
    definitions = json_schema()["$defs"]
    assert [path for name, schema in definitions.items() for path in unnamed_numbers(schema, name)] == []


def test_a_number_without_unit_is_caught() -> None:
    naked = {"type": "object", "description": "d", "properties": {"n": {"anyOf": [{"type": "number"}]}}}
    assert list(unnamed_numbers(naked, "X")) == ["X.n"]
