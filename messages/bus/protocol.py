"""The contract of a bus. Kafka and the in-memory bus are held to it by the same tests.

Topic names are the registry's; a configured prefix is added and removed inside. Everything that waits for the outside
is bounded and raises BusTimeout; what was asked may then have happened or not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from messages.codec import Headers
from messages.status import ClientState
from messages.topics import Topic

MAX_BATCH_BYTES = 1_000_000  # what one append may hold in all; brokers take 1 MiB by default


class Partition(NamedTuple):
    """A topic's partition."""

    topic: str
    number: int


class Record(Struct, frozen=True, kw_only=True):
    """One record as read. `timestamp_ms` is the broker's for LogAppendTime topics, else the producer's."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class NewRecord(Struct, frozen=True, kw_only=True):
    """One record to append."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()


class TopicState(Struct, frozen=True, kw_only=True):
    """What the broker says of an existing topic. `config` holds the settings that the registry names."""

    name: str
    partitions: int
    config: dict[str, str]


class Producer(Protocol):
    """Appends records; each call returns after the acknowledgement of all in-sync replicas. Idempotent."""

    async def publish(self, topic: str, record: NewRecord, *, partition: int | None = None) -> int:
        """Append one record and return its offset; without `partition` the key's (murmur2) is taken.

        Raises BusTimeout (fate unknown), BusUnavailable, or Refused when the record is too large.
        """
        ...

    async def publish_batch(self, partition: Partition, records: Sequence[NewRecord]) -> int:
        """Append all records as one batch, all or none, and return the offset of the first.

        Raises as `publish`. Raises Refused, with nothing appended, when they don't fit into one batch.
        """
        ...

    async def stop(self) -> None:
        """Close within a bounded time. Safe to call twice."""
        ...


class FencedProducer(Producer, Protocol):
    """The owner of a producer id.

    From a newer owner's first append to a partition on, older owners' appends there raise ProducerFenced and have no
    effect; elsewhere they may still succeed: a broker knows a partition's newest owner from the partition alone. So a
    new owner appends first (its Claim) and reads after that. Once fenced, every call raises ProducerFenced.
    """


class RebalanceListener(Protocol):
    """Hears of partitions that come and go, from inside `poll`. Must not block."""

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """These partitions are now this member's; their records may be in the next poll."""
        ...

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """These partitions go away; the hand-over waits for this call, within the rebalance time-out."""
        ...


class Consumer(Protocol):
    """Reads records in the order of each partition."""

    async def poll(self, *, max_records: int = 512, timeout_s: float = 1.0) -> list[Record]:
        """Return the next records, oldest first within a partition; an empty list when none came in time."""
        ...

    async def assign(self, positions: Mapping[Partition, int]) -> None:
        """Read exactly these partitions from these offsets on. Not for members of a group."""
        ...

    async def seek(self, partition: Partition, offset: int) -> None:
        """Continue with `offset`; what was read ahead is dropped."""
        ...

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Deliver nothing of these partitions until they are resumed."""
        ...

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Deliver again."""
        ...

    def position(self, partition: Partition) -> int:
        """Return the offset of the next record that poll will deliver."""
        ...

    async def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the first offset that is still there, for each partition."""
        ...

    async def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the offset that the next record will get, for each partition."""
        ...

    async def offsets_at(self, partitions: Iterable[Partition], timestamp_ms: int) -> dict[Partition, int]:
        """Return the offset of the first record stamped `timestamp_ms` or later; the end where there is none."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Store the group's next offset for each partition; one lower than before is ignored.

        Raises BusTimeout, PartitionLost when this member doesn't hold a partition (any more), and Refused without a
        group.
        """
        ...

    async def confirm(self, partition: Partition) -> None:
        """Ask the group whether it still counts this member as the holder, which a frozen one can't know by itself.

        Raises PartitionLost when it does not, BusTimeout, and Refused without a group.
        """
        ...

    async def committed(self, partition: Partition) -> int | None:
        """Return the group's stored offset, or None."""
        ...

    async def stop(self) -> None:
        """Leave the group and close within a bounded time. Safe to call twice."""
        ...


class Bus(Protocol):
    """A connection to a cluster, for one process."""

    @property
    def url(self) -> str:
        """The address it was made with."""
        ...

    async def producer(self) -> Producer:
        """Return a started idempotent producer of its own."""
        ...

    async def take_over(self, producer_id: str) -> FencedProducer:
        """Return a producer that owns `producer_id`: it fences every earlier owner wherever it appends."""
        ...

    async def consumer(self, *, gather_s: float = 0.0) -> Consumer:
        """Return a consumer without group; give it partitions with `assign`.

        `gather_s` is for who follows one partition for long, and costs far fewer requests: after records the next poll
        may wait for up to so long, so that those that follow come together. The first after a pause never waits;
        questions for offsets may, behind a request that waits for records.
        """
        ...

    async def subscribe(
        self, topics: Sequence[str], group: str, listener: RebalanceListener, *, member: str | None = None
    ) -> Consumer:
        """Return a member of `group`; `member` makes its membership static.

        A partition without committed offset is read from its beginning.
        """
        ...

    async def partition_count(self, topic: str) -> int:
        """Return the number of partitions. Raises TopicMismatch when the topic doesn't exist."""
        ...

    async def create_topics(self, topics: Iterable[Topic], *, shards: int, replication: int = 1) -> list[str]:
        """Create those that are missing, as registered; return their names. Never alters what exists."""
        ...

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicState]:
        """Return the state of those that exist."""
        ...

    def health(self) -> tuple[ClientState, ...]:
        """Return how each open producer and consumer is: what is stalled is rebuilt by the bus itself."""
        ...

    async def stop(self) -> None:
        """Close what this connection holds. Safe to call twice."""
        ...
