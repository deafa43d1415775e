"""A cluster's topics: create what is missing, say what differs."""

from collections.abc import Mapping

from messages.bus.protocol import Bus, NewRecord, Partition
from messages.codec import encode
from messages.control import LogStarted, control_key
from messages.topics import TOPICS


async def create_topics(bus: Bus, *, shards: int, replication: int = 1, log_id: str) -> list[str]:
    """Create the topics that are missing, and begin `control` with `log_id` when it is empty; return their names."""
    created = await bus.create_topics(TOPICS.values(), shards=shards, replication=replication)
    control = Partition("control", 0)
    consumer = await bus.consumer()
    try:
        end = (await consumer.end_offsets([control]))[control]
    finally:
        await consumer.stop()
    if end == 0:
        started = LogStarted(log_id=log_id)
        producer = await bus.producer()
        try:
            await producer.publish("control", NewRecord(key=control_key(started).encode(), value=encode(started)))
        finally:
            await producer.stop()
    return created


async def check_topics(bus: Bus, *, shards: int) -> Mapping[str, tuple[str, ...]]:
    """Return what differs from the registry, by topic; nothing for topics that are as registered."""
    found = await bus.describe_topics(TOPICS)
    differences: dict[str, tuple[str, ...]] = {}
    for name, topic in TOPICS.items():
        state = found.get(name)
        if state is None:
            differences[name] = ("missing",)
            continue
        count = topic.partitions(shards)
        wrong = [] if state.partitions == count else [f"{state.partitions} partitions, must be {count} (see `shards`)"]
        wrong += [
            f"{key}={state.config.get(key)}, must be {value}"
            for key, value in topic.broker_config().items()
            if state.config.get(key) != value
        ]
        if wrong:
            differences[name] = tuple(wrong)
    return differences
