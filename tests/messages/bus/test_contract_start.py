"""The contract of where reading starts and goes on: beginning, end, a time, and all there is before following."""

import asyncio
from collections.abc import Sequence

from messages import Consumer, NewRecord, Partition, Record
from messages.bus.reading import read_all
from tests.clusters import SHARDS, Cluster, create, read, values

ORDERS = Partition("orders", 1)
EMPTY = Partition("orders", 0)


async def written_in_two_goes(cluster: Cluster) -> tuple[Consumer, int]:
    """Three records, then two in a later millisecond; a consumer, and the time of the later ones."""
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await producer.publish_batch(ORDERS, [NewRecord(value=b"%d" % index) for index in range(3)])
    await consumer.assign({ORDERS: 0})
    earlier = (await read(consumer, 3))[-1].timestamp_ms
    for index in range(3, 1000):
        await producer.publish_batch(ORDERS, [NewRecord(value=b"%d" % index)] * 2)
        if (later := (await read(consumer, 2))[0].timestamp_ms) > earlier:
            return consumer, later
    raise TimeoutError("the cluster's time stands still")


async def test_reading_starts_at_the_beginning_the_end_or_a_time(cluster: Cluster) -> None:
    consumer, later = await written_in_two_goes(cluster)
    end = (await consumer.end_offsets([ORDERS]))[ORDERS]
    assert await consumer.offsets_at([ORDERS, EMPTY], later) == {ORDERS: end - 2, EMPTY: 0}
    assert await consumer.offsets_at([ORDERS], 0) == {ORDERS: 0}
    assert await consumer.offsets_at([ORDERS], later + 3_600_000) == {ORDERS: end}
    for ask in (consumer.beginning_offsets([ORDERS]), consumer.offsets_at([ORDERS], later)):
        start = (await ask)[ORDERS]
        await consumer.assign({ORDERS: start})
        assert [record.offset for record in await read(consumer, end - start)] == list(range(start, end))
    await consumer.assign(await consumer.end_offsets([ORDERS]))
    producer = await cluster.connect().producer()
    await producer.publish("orders", NewRecord(value=b"new"), partition=1)
    assert values(await read(consumer, 1)) == [b"new"]


async def test_all_is_read_and_then_followed_while_a_writer_goes_on(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    written, has_begun = 0, asyncio.Event()

    async def write() -> None:
        nonlocal written
        while written < 600:
            await producer.publish("orders", NewRecord(value=b"%d" % written), partition=written % SHARDS)
            written += 1
            if written == 100:
                has_begun.set()
            await asyncio.sleep(0)

    writing = asyncio.ensure_future(write())
    await asyncio.wait_for(has_begun.wait(), 20)
    bootstrap, positions = await read_all(bus, ["orders"])
    await consumer.assign(positions)
    followed = await read(consumer, 600 - len(bootstrap), polls=1000)
    await writing
    assert bootstrap
    assert offsets([*bootstrap, *followed]) == {number: list(range(150)) for number in range(SHARDS)}


async def test_the_order_within_a_partition_is_that_of_the_appends_whoever_appends(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producers = [await cluster.connect().producer() for _ in range(3)]

    async def write(name: int) -> list[int]:
        return [
            await producers[name].publish("orders", NewRecord(value=b"%d/%d" % (name, index)), partition=1)
            for index in range(40)
        ]

    told = await asyncio.gather(*(write(name) for name in range(3)))
    consumer = await bus.consumer()
    await consumer.assign({ORDERS: 0})
    by_offset = {record.offset: record.value for record in await read(consumer, 120)}
    assert sorted(by_offset) == list(range(120))
    for name, own in enumerate(told):
        assert own == sorted(own)
        assert [by_offset[offset] for offset in own] == [b"%d/%d" % (name, index) for index in range(40)]


async def test_pausing_one_partition_keeps_the_position_of_what_was_read_ahead(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    for partition in (EMPTY, ORDERS):
        await producer.publish_batch(partition, [NewRecord(value=b"%d" % index) for index in range(50)])
    await consumer.assign({EMPTY: 0, ORDERS: 0})
    first = await read(consumer, 20)
    consumer.pause([ORDERS])
    at = consumer.position(ORDERS)
    rest = await read(consumer, 50 - consumer.position(EMPTY))
    assert {record.partition for record in rest} <= {0}
    assert consumer.position(ORDERS) == at
    consumer.resume([ORDERS])
    last = await read(consumer, 50 - at)
    assert offsets([*first, *rest, *last]) == {0: list(range(50)), 1: list(range(50))}


def offsets(records: Sequence[Record]) -> dict[int, list[int]]:
    """The offsets read of each partition, in the order of reading."""
    read_of: dict[int, list[int]] = {}
    for record in records:
        read_of.setdefault(record.partition, []).append(record.offset)
    return dict(sorted(read_of.items()))
