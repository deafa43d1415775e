"""Who owns a shard: the fenced producers and the Claims that void an older owner's records."""

import asyncio
from collections.abc import Iterable, Iterator

from msgspec import Struct

from messages import (
    Bus,
    Claim,
    DecisionBatch,
    FencedProducer,
    NewRecord,
    Record,
    Refused,
    UnknownMessage,
    decode,
    encode,
)
from messages.orders import LOG_HEADER


class Ownership(Struct, frozen=True, kw_only=True):
    """A shard taken: its epoch (the offset of the Claim on `orders`), where the Claims stand, and the producers.

    `orders` has a producer of its own, so that an order never waits behind a flush; `log` writes `decisions` and
    `checkpoints`.
    """

    partition: int
    epoch: int
    decisions_claim: int
    orders: FencedProducer
    log: FencedProducer

    async def release(self) -> None:
        """Close the producers, at the same time: the shard recovers only after it."""
        for error in await asyncio.gather(self.orders.stop(), self.log.stop(), return_exceptions=True):
            if error is not None:
                raise error


async def take_ownership(bus: Bus, partition: int, owner: str) -> Ownership:
    """Fence every earlier owner of the shard and claim it on `orders`, then on `decisions`.

    When this returns, both Claims are acknowledged: whatever an earlier owner appends from now on is refused by the
    broker, and void for every reader if it is not. Raises BusTimeout, ProducerFenced.
    """
    taken: list[FencedProducer] = []
    try:
        taken.append(orders := await bus.take_over(f"shard-{partition}-orders"))
        epoch = await orders.publish("orders", NewRecord(value=encode(Claim(owner=owner))), partition=partition)
        taken.append(log := await bus.take_over(f"shard-{partition}-log"))
        claim = NewRecord(value=encode(Claim(owner=owner, epoch=epoch)))
        decisions_claim = await log.publish("decisions", claim, partition=partition)
    except BaseException:
        await asyncio.gather(*(producer.stop() for producer in taken), return_exceptions=True)
        raise
    return Ownership(partition=partition, epoch=epoch, decisions_claim=decisions_claim, orders=orders, log=log)


def valid_records(records: Iterable[Record], epoch: int | None) -> Iterator[tuple[Record, object]]:
    """Yield the records of one partition of `orders` or `decisions` that count, decoded, Claims left out.

    A record that can't be read is void. One counts when its epoch is that of the newest Claim before it; `epoch` is the
    one in force where the records begin, None at the beginning of the topic.
    """
    current = epoch
    for record in records:
        try:
            message = decode(record.topic, record.value, record.headers)
        except Refused:  # no owner wrote that
            continue
        if isinstance(message, Claim):
            current = record.offset if message.epoch is None else message.epoch
        elif not isinstance(message, UnknownMessage) and message.epoch == current:
            yield record, message


def batches_of(records: Iterable[Record], epoch: int | None) -> Iterator[DecisionBatch]:
    """Yield the decision batches that valid records of `decisions`, or the log headers of `orders`, hold."""
    for record, message in valid_records(records, epoch):
        if isinstance(message, DecisionBatch):
            yield message
        elif (batch := log_of(record)) is not None:
            yield batch


def log_of(record: Record) -> DecisionBatch | None:
    """Return the steps that the header of a record of `orders` carries; None when it has none."""
    log = next((value for name, value in record.headers if name == LOG_HEADER), None)
    return None if log is None else decode("decisions", log)
