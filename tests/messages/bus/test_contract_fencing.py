"""The contract of a fenced producer: one owner of an id, wherever it has appended."""

import asyncio

import pytest

from messages import NewRecord, Partition, ProducerFenced
from messages.bus.protocol import FencedProducer
from tests.clusters import Cluster, create, read, values

ORDERS, DECISIONS = Partition("orders", 1), Partition("decisions", 1)


async def append(producer: FencedProducer, value: bytes, partition: Partition = ORDERS) -> int:
    return await producer.publish(partition.topic, NewRecord(value=value), partition=partition.number)


async def test_after_the_new_owners_first_append_the_old_one_is_fenced_for_good(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders", "decisions")
    old = await bus.take_over("shard-1")
    await append(old, b"old")
    new = await cluster.connect("new").take_over("shard-1")
    assert await append(new, b"claim") == 1
    for _ in range(2):
        with pytest.raises(ProducerFenced, match="shard-1"):
            await append(old, b"late")
        with pytest.raises(ProducerFenced, match="shard-1"):
            await old.publish_batch(ORDERS, [NewRecord(value=b"late"), NewRecord(value=b"later")])
    with pytest.raises(ProducerFenced):  # even where the new owner has not been yet: a fenced process must end
        await append(old, b"late", DECISIONS)
    assert await new.publish_batch(ORDERS, [NewRecord(value=b"new"), NewRecord(value=b"newer")]) == 2
    consumer = await bus.consumer()
    await consumer.assign({ORDERS: 0})
    assert values(await read(consumer, 4)) == [b"old", b"claim", b"new", b"newer"]
    assert await consumer.end_offsets([ORDERS, DECISIONS]) == {ORDERS: 4, DECISIONS: 0}


async def test_a_taken_over_partition_takes_old_records_until_the_new_owner_appends(cluster: Cluster) -> None:
    # This is why a new owner appends its Claim first and reads the tail after that.
    bus = cluster.connect()
    await create(bus, "orders", "decisions")
    old = await bus.take_over("shard-1")
    await append(old, b"old")
    new = await bus.take_over("shard-1")
    assert await append(old, b"late but legal") == 1
    await append(new, b"claim")
    assert await append(old, b"late but legal", DECISIONS) == 0
    await append(new, b"claim", DECISIONS)
    with pytest.raises(ProducerFenced):
        await append(old, b"late", DECISIONS)


async def test_everything_in_flight_at_the_takeover_is_appended_before_the_claim_or_fenced(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    old = await bus.take_over("shard-1")
    await append(old, b"old")
    new = await cluster.connect("new").take_over("shard-1")
    late = [asyncio.ensure_future(append(old, b"old")) for _ in range(200)]
    claim = await append(new, b"claim")
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    offsets = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert all(offset < claim for offset in offsets)
    assert all(isinstance(outcome, int | ProducerFenced) for outcome in outcomes)
    with pytest.raises(ProducerFenced):
        await append(old, b"late")


async def test_owners_of_different_ids_do_not_fence_each_other(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    one, two, plain = await bus.take_over("shard-1"), await bus.take_over("shard-2"), await bus.producer()
    for _ in range(3):
        await append(one, b"1")
        await append(two, b"2")
        await plain.publish("orders", NewRecord(value=b"3"), partition=1)
    assert (await (await bus.consumer()).end_offsets([ORDERS]))[ORDERS] == 9


async def test_an_id_can_be_taken_over_many_times(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    owners = []
    for index in range(4):
        owners.append(await bus.take_over("shard-1"))
        assert await append(owners[-1], b"claim") == index
    for owner in owners[:-1]:
        with pytest.raises(ProducerFenced):
            await append(owner, b"late")
        await owner.stop()
    assert await append(owners[-1], b"mine") == 4
