"""From the log to a shard's state: checkpoint, then `decisions`, then the log headers on the tail of `orders`.

Logged steps are adopted: their decisions and orders are taken as they are, the policy is not asked again. Beyond the
last logged step nothing was ever sent, so deciding anew is free.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from agents.execution.errors import LogBroken
from agents.execution.ownership import Ownership, batches_of
from agents.execution.shard import Shard
from agents.execution.shard.state import is_readable, state_digest
from messages import Bus, Checkpoint, LoggedStep, Partition, Record
from messages.bus.reading import message_in, read_range


class Recovered(Struct, frozen=True, kw_only=True):
    """What recovery found. `unlogged` are adopted steps that stood only in headers of `orders`: write them on first."""

    unlogged: tuple[LoggedStep, ...]
    adopted: int


class _Tails(Struct, frozen=True, kw_only=True):
    from_decisions: dict[int, LoggedStep]
    from_orders: dict[int, LoggedStep]


async def recover(bus: Bus, shard: Shard, ownership: Ownership) -> Recovered:
    """Bring a fresh shard to the state after its last logged step. Raises LogBroken, BusTimeout."""
    number = ownership.partition
    checkpoint = await _newest_checkpoint(bus, number, ownership.epoch)
    if checkpoint is not None:
        shard.restore(checkpoint)
    tails = await _read_tails(bus, ownership, checkpoint)
    steps = _contiguous(number, shard.n, {**tails.from_orders, **tails.from_decisions})
    await _adopt(bus, shard, steps, ring_from=checkpoint.ring_from if checkpoint else 0)
    unlogged = tuple(step for step in steps if step.step.n not in tails.from_decisions)
    return Recovered(unlogged=unlogged, adopted=len(steps))


async def _newest_checkpoint(bus: Bus, number: int, epoch: int) -> Checkpoint | None:
    partition = Partition("checkpoints", number)
    consumer = await bus.consumer()
    try:
        end = (await consumer.end_offsets([partition]))[partition]
    finally:
        await consumer.stop()
    newest: Checkpoint | None = None
    for record in await read_range(bus, {partition: (0, end)}):
        checkpoint = message_in(record)
        if isinstance(checkpoint, Checkpoint) and _is_good(checkpoint, newest, epoch):
            newest = checkpoint
    return newest


def _is_good(checkpoint: Checkpoint, newest: Checkpoint | None, epoch: int) -> bool:
    return (
        checkpoint.epoch < epoch
        and state_digest(checkpoint.state) == checkpoint.digest
        and is_readable(checkpoint.state)
        and (newest is None or (checkpoint.epoch, checkpoint.n) >= (newest.epoch, newest.n))
    )


async def _read_tails(bus: Bus, ownership: Ownership, checkpoint: Checkpoint | None) -> _Tails:
    orders, decisions = Partition("orders", ownership.partition), Partition("decisions", ownership.partition)
    records = await read_range(
        bus,
        {
            orders: (checkpoint.orders_to if checkpoint else 0, ownership.epoch),
            decisions: (checkpoint.decisions_to if checkpoint else 0, ownership.decisions_claim),
        },
    )
    epoch = checkpoint.epoch if checkpoint else None
    return _Tails(
        from_decisions=_steps_of(records, "decisions", epoch),
        from_orders=_steps_of(records, "orders", epoch),
    )


def _steps_of(records: Iterable[Record], topic: str, epoch: int | None) -> dict[int, LoggedStep]:
    steps: dict[int, LoggedStep] = {}
    for batch in batches_of([record for record in records if record.topic == topic], epoch):
        for step in batch.steps:
            steps.setdefault(step.step.n, step)
    return steps


def _contiguous(number: int, first: int, steps: Mapping[int, LoggedStep]) -> list[LoggedStep]:
    wanted = sorted(n for n in steps if n >= first)
    if wanted and wanted != list(range(first, first + len(wanted))):
        missing = next(n for index, n in enumerate(range(first, wanted[-1])) if wanted[index] != n)
        raise LogBroken(number, f"step {missing} is missing while step {wanted[-1]} is logged")
    return [steps[n] for n in wanted]


async def _adopt(bus: Bus, shard: Shard, steps: list[LoggedStep], *, ring_from: int) -> None:
    market, reports = Partition("market", shard.partition), Partition("reports", shard.partition)
    market_to = steps[-1].step.market_to if steps else shard.market_to
    reports_to = steps[-1].step.reports_to if steps else shard.reports_to
    records = await read_range(bus, {market: (ring_from, market_to), reports: (shard.reports_to, reports_to)})
    ticks = [record for record in records if record.topic == "market"]
    shard.refill([record for record in ticks if record.offset < shard.market_to])
    by_offset = {(record.topic, record.offset): record for record in records}
    for logged in steps:
        step = logged.step
        shard.adopt(
            logged,
            _present(by_offset, "market", step.market_from, step.market_to),
            _present(by_offset, "reports", shard.reports_to, step.reports_to),
        )


def _present(records: Mapping[tuple[str, int], Record], topic: str, start: int, end: int) -> list[Record]:
    return [records[topic, offset] for offset in range(start, end) if (topic, offset) in records]
