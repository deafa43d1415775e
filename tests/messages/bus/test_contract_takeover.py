"""The contract of a takeover with much under way: what the old owner was told stands before the new one's first append.

This is what exactness rests on: a new owner appends its Claim and reads after that; nothing may come in behind.
"""

import asyncio

import pytest

from messages import NewRecord, Partition, ProducerFenced
from messages.bus.protocol import Bus, FencedProducer, Record
from messages.errors import BusTimeout, BusUnavailable
from tests.clusters import SHARDS, Cluster, create, read

ALL = [Partition("orders", number) for number in range(SHARDS)]
CLAIM = b"claim"


async def flood(owner: FencedProducer, name: bytes) -> tuple[list[tuple[Partition, int]], list[BaseException]]:
    """Publish to all partitions, singly and in batches, until fenced; return what was acknowledged, and the errors."""
    acknowledged: list[tuple[Partition, int]] = []
    errors: list[BaseException] = []

    async def keep_on(partition: Partition, size: int) -> None:
        while not errors:
            try:
                if size == 1:
                    record = NewRecord(value=name)
                    first = await owner.publish(partition.topic, record, partition=partition.number)
                else:
                    first = await owner.publish_batch(partition, [NewRecord(value=name)] * size)
            except Exception as error:
                errors.append(error)
                raise
            acknowledged.extend((partition, first + index) for index in range(size))
            await asyncio.sleep(0)

    work = [keep_on(partition, size) for partition in ALL for size in (1, 1, 3)]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    return acknowledged, [outcome for outcome in outcomes if outcome is not None]


async def claim_all(bus: Bus) -> FencedProducer:
    """Take over and append a Claim to every partition, as a new owner does."""
    owner = await bus.take_over("shard")
    for partition in ALL:
        await owner.publish(partition.topic, NewRecord(value=CLAIM), partition=partition.number)
    return owner


async def log_of(bus: Bus) -> dict[Partition, list[Record]]:
    """All records of all partitions."""
    consumer = await bus.consumer()
    ends = await consumer.end_offsets(ALL)
    await consumer.assign(dict.fromkeys(ALL, 0))
    records = await read(consumer, sum(ends.values()), polls=400)
    await consumer.stop()
    return {p: [record for record in records if record.partition == p.number] for p in ALL}


async def test_nothing_of_an_old_owner_stands_behind_the_next_ones_claim_however_often(cluster: Cluster) -> None:
    bus = cluster.connect("old")
    await create(bus, "orders")
    owner, watcher = await claim_all(bus), await bus.consumer()
    acknowledged: list[tuple[Partition, int, bytes]] = []
    for generation in range(4):
        name = b"owner %d" % generation
        await watcher.assign(await watcher.end_offsets(ALL))
        flooding = asyncio.ensure_future(flood(owner, name))
        assert len(await read(watcher, 60)) == 60
        owner_next = await claim_all(cluster.connect(f"new {generation}"))
        told, errors = await asyncio.wait_for(flooding, 30)
        acknowledged += [(partition, offset, name) for partition, offset in told]
        assert told
        assert any(isinstance(error, ProducerFenced) for error in errors)
        assert all(isinstance(error, ProducerFenced | BusTimeout | BusUnavailable) for error in errors), errors
        for partition in ALL:  # for good: asked again, singly or as a batch, where it is fenced or elsewhere
            with pytest.raises(ProducerFenced):
                await owner.publish(partition.topic, NewRecord(value=b"late"), partition=partition.number)
            with pytest.raises(ProducerFenced):
                await owner.publish_batch(partition, [NewRecord(value=b"late")] * 2)
        await owner.stop()
        owner = owner_next
    logs = await log_of(bus)
    for partition, offset, name in acknowledged:
        assert logs[partition][offset].value == name
    assert len({(partition, offset) for partition, offset, _ in acknowledged}) == len(acknowledged)
    for records in logs.values():
        owners_seen = [record.value for record in records]
        assert b"late" not in owners_seen
        generation = -1
        for value in owners_seen:
            if value == CLAIM:
                generation += 1
            else:
                assert value == b"owner %d" % generation
        assert generation == 4


async def test_an_owner_that_was_replaced_while_idle_is_fenced_at_its_first_call(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    idle = await claim_all(bus)
    await claim_all(cluster.connect("new"))
    late = [
        *(idle.publish("orders", NewRecord(value=b"late"), partition=number) for number in range(SHARDS)),
        *(idle.publish_batch(partition, [NewRecord(value=b"late")] * 5) for partition in ALL),
    ]
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ProducerFenced] * len(late)
    assert all(len(records) == 2 for records in (await log_of(bus)).values())
