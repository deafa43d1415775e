"""The schemas against the committed ones: they may only grow, and each version reads the other's records."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from messages import TOPICS, decode, encode
from messages.codec import JSON, MSGPACK, MSGPACK_HEADER
from messages.growth import changes
from messages.schema import json_schema
from tests.message_examples import KINDS, fullest, smallest
from tests.messages.yesterday import Version

SNAPSHOT = Path(__file__).with_name("golden") / "schema.json"
REFRESH = "tickpilot schema json > tests/messages/golden/schema.json"
TOPIC_OF = {kind.__name__: name for name, topic in TOPICS.items() for kind in topic.messages}
FORMATS = {"json": (JSON, ()), "msgpack": (MSGPACK, (MSGPACK_HEADER,))}

snapshot = json.loads(SNAPSHOT.read_text())
versions = pytest.mark.parametrize(
    "version",
    [Version(snapshot), Version(snapshot, without_optional=True)],
    ids=["the snapshot", "before all optional fields"],
)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
every_format = pytest.mark.parametrize("form", FORMATS)


def test_the_schemas_have_only_grown_since_the_snapshot() -> None:
    found = changes(snapshot, json_schema())
    if breaking := [str(change) for change in found if change.breaks is not None]:
        pytest.fail(
            "\n".join(breaking) + "\nOutside clients live by these schemas: add an optional field or a new message "
            f"instead. Only where no reader and no record of yesterday is left, record it: {REFRESH}"
        )
    if found:
        pytest.fail("\n".join(map(str, found)) + f"\nRecord it: {REFRESH}")


def bytes_of(message: Struct, content_type: bytes) -> bytes:
    return msgspec.msgpack.encode(message) if content_type == MSGPACK else msgspec.json.encode(message)


def read_by(version: Version, topic: str, value: bytes, content_type: bytes) -> Any:
    read = msgspec.msgpack.decode if content_type == MSGPACK else msgspec.json.decode
    return read(value, type=version.topics[topic])


@versions
@every_kind
@every_format
def test_a_reader_of_yesterday_reads_todays_records(version: Version, kind: type[Struct], form: str) -> None:
    if kind.__name__ not in version.kinds:
        pytest.skip("younger than the snapshot")
    content_type, _ = FORMATS[form]
    for message in (smallest(kind), fullest(kind)):
        read = read_by(version, TOPIC_OF[kind.__name__], encode(message, content_type), content_type)
        assert type(read).__name__ == kind.__name__
        assert agrees(read, message)


def agrees(some: Any, other: Any) -> bool:
    """Whether two versions of a message say the same, as far as both have a word for it."""
    if isinstance(some, Struct) and isinstance(other, Struct):
        names = set(some.__struct_fields__) & set(other.__struct_fields__)
        return all(agrees(getattr(some, name), getattr(other, name)) for name in names)
    if isinstance(some, tuple) and isinstance(other, tuple):
        return len(some) == len(other) and all(map(agrees, some, other))
    return bool(some == other)


@versions
@every_kind
@every_format
def test_todays_reader_reads_the_records_of_yesterday(version: Version, kind: type[Struct], form: str) -> None:
    if kind.__name__ not in version.kinds:
        pytest.skip("younger than the snapshot")
    content_type, headers = FORMATS[form]
    writer = version.kinds[kind.__name__]
    for message in (smallest(writer), fullest(writer)):
        read = decode(TOPIC_OF[kind.__name__], bytes_of(message, content_type), headers)
        assert type(read) is kind
        assert agrees(message, read)


def test_a_reader_of_yesterday_refuses_what_the_rules_forbid() -> None:
    """The rules are not stricter than they must be: a value that is new to a closed list is refused."""
    version = Version(snapshot)
    quote = {"type": "Trade", "instrument": "X", "ts_recv": 1, "price": 1.0, "size": 1.0, "aggressor": "nobody"}
    with pytest.raises(msgspec.ValidationError):
        read_by(version, "market", json.dumps(quote).encode(), JSON)
