"""What a drill's records must prove: nothing acknowledged is lost, nothing is there twice."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from messages import Record
from tests.drills.load import Place

Places = Mapping[int, list[Place]]


def places_by_id(records: Iterable[Record], field: str) -> dict[int, list[Place]]:
    """Return where each id lies, by the number that the JSON records have in `field`."""
    found: dict[int, list[Place]] = defaultdict(list)
    for record in records:
        message: dict[str, Any] = msgspec.json.decode(record.value or b"{}")
        if field in message:
            found[message[field]].append(Place(record.partition, record.offset))
    return dict(found)


def lost(acknowledged: Mapping[int, Place], read: Places) -> list[int]:
    """Return ids that are not where the cluster said they were."""
    return [number for number, place in acknowledged.items() if place not in read.get(number, [])]


def doubled(read: Places, *, sent_again: Iterable[int] = ()) -> list[int]:
    """Return ids that lie at several places although they were handed to the client once."""
    excused = set(sent_again)
    return [number for number, places in read.items() if len(places) > 1 and number not in excused]


def unanswered(read: Places, answers: Places) -> list[int]:
    """Return ids that were read and have no answer."""
    return sorted(read.keys() - answers.keys())
