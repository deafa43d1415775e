"""Whatever the agents publish on an in-memory bus fits the published schema, in every test."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from messages import TOPICS, Partition, Record
from messages.bus.memory.broker import MemoryBroker
from messages.errors import TopicMismatch
from tests.schemas import is_json, wrong_in


@pytest.fixture(autouse=True)
def published_schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Judge all records of all brokers that the test made, but for dead letters and what a test wrote as no JSON."""
    brokers: list[MemoryBroker] = []
    begin = MemoryBroker.__init__

    def remembered(broker: MemoryBroker, *args: Any, **kwargs: Any) -> None:
        begin(broker, *args, **kwargs)
        brokers.append(broker)

    monkeypatch.setattr(MemoryBroker, "__init__", remembered)
    yield
    for broker in brokers:
        assert wrong_in(record for record in records_of(broker) if is_json(record)) == []


def records_of(broker: MemoryBroker) -> Iterator[Record]:
    """Yield what is left on the topics."""
    for topic in TOPICS:
        with suppress(TopicMismatch):  # not every test creates all of them
            for number in range(broker.count(topic)):
                yield from broker.log(Partition(topic, number)).records
