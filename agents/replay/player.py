"""Re-derives a log: the recorded steps go through the same core again, and all that comes out must be equal."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from agents.execution.shard import Shard
from messages import LoggedStep, Record, encode


class Mismatch(Struct, frozen=True, kw_only=True):
    """The first step whose replay differs: what the log holds and what the core answers now."""

    partition: int
    n: int
    logged: LoggedStep
    derived: LoggedStep


class Rederived(Struct, frozen=True, kw_only=True):
    """What a replay went through. `orders` are the bytes of each order and cancel, in order of `seq`."""

    steps: int
    decisions: int
    orders: tuple[bytes, ...]
    mismatch: Mismatch | None


def rederive(
    shard: Shard, steps: Iterable[LoggedStep], market: Sequence[Record], reports: Sequence[Record]
) -> Rederived:
    """Step a fresh shard through the log, with the policies that it holds; stop at the first difference.

    The epoch is no function of the inputs: it is taken from the logged orders.
    """
    market_by_offset, reports_by_offset = _by_offset(market), _by_offset(reports)
    orders: list[bytes] = []
    count = decisions = 0
    for logged in steps:
        step = logged.step
        if logged.orders:
            shard.epoch = logged.orders[0].epoch
        derived = shard.step(
            step,
            in_range(market_by_offset, step.market_from, step.market_to),
            in_range(reports_by_offset, shard.reports_to, step.reports_to),
        )
        count, decisions = count + 1, decisions + len(derived.decisions)
        orders += [encode(order) for order in derived.orders]
        if encode(derived) != encode(logged):
            mismatch = Mismatch(partition=shard.partition, n=step.n, logged=logged, derived=derived)
            return Rederived(steps=count, decisions=decisions, orders=tuple(orders), mismatch=mismatch)
    return Rederived(steps=count, decisions=decisions, orders=tuple(orders), mismatch=None)


def _by_offset(records: Iterable[Record]) -> dict[int, Record]:
    return {record.offset: record for record in records}


def in_range(records: Mapping[int, Record], start: int, end: int) -> list[Record]:
    """Return the records of [start, end) that are there."""
    return [records[offset] for offset in range(start, end) if offset in records]
