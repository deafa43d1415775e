"""A cluster's topics: create what is missing, say what differs."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from messages.bus.protocol import Bus, NewRecord, Partition
from messages.codec import encode
from messages.control import LogStarted, control_key
from messages.errors import Refused, TopicMismatch
from messages.topics import TOPICS

_COUNT = " partitions, must be "


class ShardsDiffer(Refused):
    """Raised when a cluster was made with another number of shards than the settings name; nothing was created."""

    def __init__(self, topic: str, found: int, wanted: int) -> None:
        super().__init__(f"topic {topic} has {found}{_COUNT}{wanted}; nothing was created: {_for_ever(str(found))}")
        self.topic, self.found, self.wanted = topic, found, wanted


async def create_topics(bus: Bus, *, shards: int, replication: int = 1, log_id: str) -> list[str]:
    """Create the topics that are missing, and begin `control` with `log_id` when it is empty; return their names.

    What exists is never altered. Raises ShardsDiffer when topics exist with another number of shards.
    """
    await _check_shards(bus, shards)
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


async def _check_shards(bus: Bus, shards: int) -> None:
    """A topic more with another count than its fellows would tear the shards apart."""
    for topic in TOPICS.values():
        if topic.sharded:
            with suppress(TopicMismatch):  # it does not exist yet
                if (found := await bus.partition_count(topic.name)) != shards:
                    raise ShardsDiffer(topic.name, found, shards)


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
        wrong = [] if state.partitions == count else [f"{state.partitions}{_COUNT}{count}"]
        wrong += [
            f"{key}={state.config.get(key)}, must be {value}"
            for key, value in topic.broker_config().items()
            if state.config.get(key) != value
        ]
        if wrong:
            differences[name] = tuple(wrong)
    return differences


def remedies(differences: Mapping[str, Sequence[str]], *, prefix: str = "") -> list[str]:
    """Return what a person can do about what `check_topics` found; the tool itself alters nothing."""
    found = []
    if any("missing" in each for each in differences.values()):
        found.append("create what is missing: tickpilot topics create")
    counts = {
        difference.partition(_COUNT)[0]
        for name, each in differences.items()
        for difference in each
        if _COUNT in difference and TOPICS[name].sharded
    }
    if counts:
        found.append(_for_ever(counts.pop() if len(counts) == 1 else None))
    for name, each in differences.items():
        if not TOPICS[name].sharded and any(_COUNT in difference for difference in each):
            found.append(
                f"{name} must have one partition: delete it and run tickpilot topics create, or take another prefix"
            )
        wanted = TOPICS[name].broker_config()
        settings = [f"{key}={wanted[key]}" for key in wanted if any(d.startswith(f"{key}=") for d in each)]
        if settings:
            found.append(
                f"kafka-configs.sh --bootstrap-server ... --alter --entity-type topics --entity-name {prefix}{name} "
                f"--add-config {','.join(settings)}"
            )
    return found


def _for_ever(count: str | None) -> str:
    own = (
        f"set `shards: {count}` in the settings"
        if count is not None
        else "delete the sharded topics, which do not agree"
    )
    return f"the number of shards is fixed when topics are created: {own}, or take another `prefix` and create anew"
