"""From what aiokafka has fetched to our records, without aiokafka's own in between.

aiokafka makes a ConsumerRecord of eleven fields for each record, which costs more than all the rest of reading it. It
does so by a method of what it keeps for a fetched partition; `Parsing` puts one there that makes a Record at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition

from messages.bus.protocol import Record

Make = Callable[[TopicPartition, Any], Record]


class Parsing:
    """Makes records of the topics whose names begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self._skip = len(prefix)
        self._makers: dict[TopicPartition, Make] = {}

    def take_over(self, fetcher: Any) -> None:
        """Have all that the fetcher holds parsed into our records."""
        for raw, fetched in fetcher._records.items():  # noqa: SLF001 - the contract suite runs on it
            partition_records = getattr(fetched, "_partition_records", None)  # an error has none
            if partition_records is not None:
                partition_records._consumer_record = self._maker(raw)  # noqa: SLF001 - as above

    def records(self, raw: TopicPartition, batch: Sequence[Any]) -> Sequence[Record]:
        """Return a partition's batch as our records: as it is, unless it was fetched behind our back."""
        if type(batch[0]) is Record:
            return batch
        make = self._maker(raw)
        return [make(raw, record) for record in batch]

    def _maker(self, raw: TopicPartition) -> Make:
        if (make := self._makers.get(raw)) is None:
            make = self._makers[raw] = _maker_of(raw.topic[self._skip :], raw.partition)
        return make


def _maker_of(topic: str, partition: int) -> Make:
    def make(_raw: TopicPartition, record: Any) -> Record:
        headers = record.headers
        return Record(
            topic=topic,
            partition=partition,
            offset=record.offset,
            timestamp_ms=record.timestamp,
            key=record.key,
            value=record.value,
            headers=tuple(headers) if headers else (),
        )

    return make
