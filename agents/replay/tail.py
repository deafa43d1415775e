"""The part of a shard's log that an explanation needs, from a recording or a live bus."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from agents.execution.ownership import batches_of, valid_records
from agents.execution.shard.state import is_readable, state_digest
from messages import Bus, Checkpoint, ExecutionReport, LoggedStep, Order, Partition, Record
from messages.bus.reading import message_in, read_range
from messages.orders import Source

Records = Callable[[str, int], Sequence[Record]]
_WINDOW_RECORDS = 10_000


class ShardLog(Struct, frozen=True, kw_only=True):
    """One partition's steps from `checkpoint` on (None: from the first that is there), and the records by offset.

    `answers` are all reports of the partition that can be read, from the checkpoint on.
    """

    partition: int
    checkpoint: Checkpoint | None
    steps: tuple[LoggedStep, ...]
    market: Mapping[int, Record]
    reports: Mapping[int, Record]
    answers: tuple[ExecutionReport, ...]


def shard_log(records: Records, partition: int, offsets: Sequence[int]) -> ShardLog:
    """Return the log that leads to these market offsets, from the newest good checkpoint before the first of them.

    Steps that stand only in the headers of `orders` belong to it, as in recovery.
    """
    checkpoint = checkpoint_before(records("checkpoints", partition), min(offsets))
    decisions = _from(records("decisions", partition), checkpoint.decisions_to if checkpoint else 0)
    orders = _from(records("orders", partition), checkpoint.orders_to if checkpoint else 0)
    epoch = checkpoint.epoch if checkpoint else None
    steps: dict[int, LoggedStep] = {}
    for batch in (*batches_of(decisions, epoch), *batches_of(orders, epoch)):
        for logged in batch.steps:
            steps.setdefault(logged.step.n, logged)
    reports = records("reports", partition)
    first = checkpoint.n if checkpoint else 0
    return ShardLog(
        partition=partition,
        checkpoint=checkpoint,
        steps=tuple(steps[n] for n in sorted(steps) if n >= first),
        market={record.offset: record for record in records("market", partition)},
        reports={record.offset: record for record in reports},
        answers=tuple(_answers(reports)),
    )


def checkpoint_before(records: Iterable[Record], offset: int) -> Checkpoint | None:
    """Return the newest good checkpoint that had not yet read the market record at `offset`."""
    newest: Checkpoint | None = None
    for record in records:
        message = message_in(record)  # recovery goes on without what it can't read, too
        if not isinstance(message, Checkpoint) or message.market_to > offset:
            continue
        is_newer = newest is None or (message.epoch, message.n) >= (newest.epoch, newest.n)
        if is_newer and state_digest(message.state) == message.digest and is_readable(message.state):
            newest = message
    return newest


async def read_records(bus: Bus, partition: int, offsets: Sequence[int]) -> Records:
    """Read from a live bus what `shard_log` wants: the shard's topics, from the checkpoint before these offsets on."""
    checkpoints = await _read(bus, {Partition("checkpoints", partition): 0})
    checkpoint = checkpoint_before(checkpoints, min(offsets))
    begins = {
        "market": checkpoint.market_to if checkpoint else 0,
        "orders": checkpoint.orders_to if checkpoint else 0,
        "reports": checkpoint.reports_to if checkpoint else 0,
        "decisions": checkpoint.decisions_to if checkpoint else 0,
    }
    found = await _read(
        bus, {Partition(topic, partition): begin for topic, begin in begins.items()}, market_to=max(offsets) + 1
    )
    return by_topic([*checkpoints, *found])


async def read_newest(bus: Bus, instrument: str, partition: int, count: int) -> list[int]:
    """Return the offsets of the instrument's newest records on `market`, at most `count`, oldest first."""
    market = Partition("market", partition)
    consumer = await bus.consumer()
    try:
        begin, end = (
            (await consumer.beginning_offsets([market]))[market],
            (await consumer.end_offsets([market]))[market],
        )
    finally:
        await consumer.stop()
    window = max(count, _WINDOW_RECORDS)
    while True:
        start = max(begin, end - window)
        newest = newest_of(await read_range(bus, {market: (start, end)}), instrument, count)
        if len(newest) == count or start == begin:
            return newest
        window *= 4


def newest_of(market: Iterable[Record], instrument: str, count: int) -> list[int]:
    """Return the offsets of the instrument's newest records, at most `count`, oldest first."""
    return [record.offset for record in market if record.key == instrument.encode()][-count:]


def source_of(orders: Iterable[Record], order_id: str) -> Source | None:
    """Return the market record on which an order was decided, by its id or its cancel's; None when it is not there."""
    for _, message in valid_records(orders, None):
        if isinstance(message, Order) and order_id in {message.order_id, f"{message.order_id}-C"}:
            return message.source
    return None


def by_topic(records: Iterable[Record]) -> Records:
    """Return records as a recording gives them: by topic and partition, in order of offset."""
    found: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        found.setdefault((record.topic, record.partition), []).append(record)
    return lambda topic, partition: found.get((topic, partition), ())


async def _read(bus: Bus, begins: Mapping[Partition, int], *, market_to: int | None = None) -> list[Record]:
    consumer = await bus.consumer()
    try:
        ends = await consumer.end_offsets(begins)
    finally:
        await consumer.stop()
    if market_to is not None:
        ends = {at: min(end, market_to) if at.topic == "market" else end for at, end in ends.items()}
    return await read_range(bus, {partition: (begin, ends[partition]) for partition, begin in begins.items()})


def _from(records: Iterable[Record], begin: int) -> list[Record]:
    return [record for record in records if record.offset >= begin]


def _answers(reports: Iterable[Record]) -> Iterable[ExecutionReport]:
    for record in reports:
        message = message_in(record)
        if isinstance(message, ExecutionReport):
            yield message
