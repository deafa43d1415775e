"""Asks what the checks judge: one look at a cluster before an agent starts on it."""

from typing import TYPE_CHECKING

from messages.bus.checks import (
    Finding,
    judge_clock,
    judge_extension,
    judge_replication,
    judge_topics,
    judge_versions,
)
from messages.bus.cluster import check_topics
from messages.bus.protocol import Bus, Partition
from messages.clock import Clock
from messages.errors import BusRefused, RefusalCause, Refused, TopicMismatch

if TYPE_CHECKING:
    from messages.bus.kafka.bus import KafkaBus

_STAMPED = ("market", "status")
_PARTITIONS = 16  # so many of a topic's are looked at for the newest record
_POLLS = 10
_POLL_S = 0.2


async def examine(bus: Bus, *, shards: int, clock: Clock) -> list[Finding]:
    """Return what every check finds. Raises BusUnavailable and BusRefused when the cluster lets nobody ask.

    In memory there is no cluster: only the clock is looked at.
    """
    if not bus.url.startswith("kafka://"):
        return [judge_clock(clock.now_ns(), None)]
    from messages.bus.kafka.calls import warn_if_slow

    facts = await _kafka(bus).facts()
    return [
        judge_extension(is_slow=warn_if_slow()),
        judge_clock(clock.now_ns(), await _newest_ms(bus)),
        *judge_versions(facts),
        *await _topics(bus, shards),
        *judge_replication(facts),
    ]


async def read_lag(bus: Bus, *, group: str, topic: str) -> dict[int, tuple[int | None, int]]:
    """Return for each partition of a topic what the group has committed, None if nothing, and the end.

    Nobody joins the group for it. Raises Refused for a bus that is not Kafka.
    """
    committed = await _kafka(bus).committed(group, topic)
    partitions = [Partition(topic, number) for number in range(await bus.partition_count(topic))]
    consumer = await bus.consumer()
    try:
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {partition.number: (committed.get(partition.number), ends[partition]) for partition in partitions}


def _kafka(bus: Bus) -> "KafkaBus":
    from messages.bus.kafka.bus import KafkaBus

    if not isinstance(bus, KafkaBus):
        raise Refused(f"{bus.url} is no Kafka cluster; use kafka://host:port")
    return bus


async def _topics(bus: Bus, shards: int) -> list[Finding]:
    try:
        return judge_topics(await check_topics(bus, shards=shards))
    except BusRefused as error:
        if error.cause is not RefusalCause.TOPIC_DENIED:
            raise
        found = "this user may not read the topics' settings, so they are not checked"
        return [
            Finding(check="topics", level="warning", found=found, remedy="grant DescribeConfigs on them by kafka-acls")
        ]


async def _newest_ms(bus: Bus) -> int | None:
    """Return the newest timestamp among the last records of topics that are there and that this user may read."""
    stamps: list[int] = []
    for topic in _STAMPED:
        try:
            stamps += await _last_stamps(bus, topic)
        except (TopicMismatch, BusRefused):  # judged by other checks, where it matters
            continue
    return max(stamps, default=None)


async def _last_stamps(bus: Bus, topic: str) -> list[int]:
    count = min(await bus.partition_count(topic), _PARTITIONS)
    partitions = [Partition(topic, index) for index in range(count)]
    consumer = await bus.consumer()
    try:
        beginnings, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        last = {partition: ends[partition] - 1 for partition in partitions if ends[partition] > beginnings[partition]}
        await consumer.assign(last)
        stamps: dict[Partition, int] = {}
        for _ in range(_POLLS if last else 0):
            for record in await consumer.poll(timeout_s=_POLL_S):
                stamps[Partition(topic, record.partition)] = record.timestamp_ms
            if len(stamps) == len(last):
                break
        return list(stamps.values())
    finally:
        await consumer.stop()
