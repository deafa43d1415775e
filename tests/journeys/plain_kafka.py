"""A user's Kafka client: confluent-kafka and JSON, none of the project's code but the shape of a record."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from messages import Record
from tests.schemas import parsed, wrong_in
from tests.waiting import NeverHappened

Json = dict[str, Any]
_TIMEOUT_S = 10.0
_PARSED = frozenset({"status", "decisions", "reports", "risk", "dead-letters", "control", "orders"})


def servers_of(url: str) -> str:
    """Return host:port pairs of a `kafka://` address."""
    return url.removeprefix("kafka://")


class Publisher:
    """Publishes as an outside user does, with the partitioner that the documentation asks for."""

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        self._producer = Producer(
            {"bootstrap.servers": servers_of(url), "partitioner": "murmur2_random", "log_level": 2}
        )

    def publish(
        self,
        topic: str,
        value: bytes | Json,
        *,
        key: str | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> bytes:
        """Send one record, wait for its acknowledgement and return the bytes that were sent."""
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        failed: list[object] = []
        placed = {} if partition is None else {"partition": partition}
        self._producer.produce(
            self._prefix + topic,
            content,
            key=key,
            headers=list(headers),
            on_delivery=lambda error, _: failed.append(error) if error is not None else None,
            **placed,
        )
        assert self._producer.flush(_TIMEOUT_S) == 0, f"{topic}: no acknowledgement"
        assert not failed, failed
        return content


class Log:
    """Follows whole topics from their beginnings; keeps every record, and what they say in either format."""

    def __init__(
        self,
        url: str,
        prefix: str,
        partitions: Mapping[str, int],
        *,
        while_waiting: Callable[[], object] = lambda: None,
    ) -> None:
        self._prefix, self._while_waiting = prefix, while_waiting
        self.records: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self._messages: dict[str, list[Json]] = defaultdict(list)
        self._partitions = [
            TopicPartition(prefix + topic, number, 0) for topic, count in partitions.items() for number in range(count)
        ]
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers_of(url),
                "group.id": f"{prefix}reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_uncommitted",
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "log_level": 2,
            }
        )
        self._consumer.assign(self._partitions)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def of(self, topic: str, type_name: str | None = None, *, after: int = 0) -> list[Json]:
        """Return the messages of a topic read so far but for the first `after`, in the order of each partition."""
        return [m for m in self._messages[topic][after:] if type_name is None or m["type"] == type_name]

    def topic(self, topic: str, partition: int = 0) -> list[Record]:
        """Return the records of one partition read so far."""
        return self.records[topic, partition]

    def unfit(self) -> list[str]:
        """Return which records do not fit the published schema and are no dead letters."""
        return wrong_in(record for records in self.records.values() for record in records)

    def read(self, timeout_s: float = 0.2) -> None:
        """Take in what is there now, waiting for the first of it."""
        for message in self._consumer.consume(num_messages=2000, timeout=timeout_s):
            assert message.error() is None, message.error()
            self._keep(message)

    def _keep(self, message: Message) -> None:
        topic = message.topic().removeprefix(self._prefix)
        record = Record(
            topic=topic,
            partition=message.partition(),
            offset=message.offset(),
            timestamp_ms=message.timestamp()[1],
            key=message.key(),
            value=message.value(),
            headers=tuple(message.headers() or ()),
        )
        self.records[topic, record.partition].append(record)
        if topic in _PARSED and record.value is not None:
            self._messages[topic].append(parsed(record))

    def wait(self, happened: Callable[["Log"], object], *, what: str, timeout_s: float) -> None:
        """Read until `happened` is true of this log. Raises NeverHappened, and what `while_waiting` raises."""
        deadline = time.monotonic() + timeout_s
        while not happened(self):
            if time.monotonic() > deadline:
                counts = {f"{topic}-{number}": len(found) for (topic, number), found in sorted(self.records.items())}
                raise NeverHappened(what, timeout_s, counts)
            self._while_waiting()
            self.read()

    def read_to_end(self) -> None:
        """Read all that is on the topics now, and what comes meanwhile."""
        ends = self.ends()
        self.wait(
            lambda log: all(
                (found := log.records[topic, number]) and found[-1].offset >= end - 1
                for (topic, number), end in ends.items()
                if end > 0
            ),
            what=f"reading to {ends}",
            timeout_s=30,
        )

    def ends(self) -> dict[tuple[str, int], int]:
        """Return the offset that the next record will get, for each partition."""
        return {
            (partition.topic.removeprefix(self._prefix), partition.partition): self._consumer.get_watermark_offsets(
                partition, timeout=_TIMEOUT_S
            )[1]
            for partition in self._partitions
        }


def committed_offsets(url: str, prefix: str, group: str, partitions: int) -> dict[int, int]:
    """Return the group's stored offset on each partition of `market`; a negative number where there is none."""
    consumer = Consumer({"bootstrap.servers": servers_of(url), "group.id": prefix + group})
    try:
        stored = consumer.committed(
            [TopicPartition(f"{prefix}market", number) for number in range(partitions)], timeout=_TIMEOUT_S
        )
        return {partition.partition: partition.offset for partition in stored}
    finally:
        consumer.close()
