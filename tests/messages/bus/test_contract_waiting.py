"""The contract of size, backpressure and cancellation: callers wait, nothing is unbounded, nobody is left in doubt."""

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest

from messages import NewRecord, Partition, Refused
from messages.bus.protocol import MAX_BATCH_BYTES
from tests.clusters import Cluster, Heard, create, read, values

ORDERS = Partition("orders", 1)
ROOM_FOR_FRAMING = 200  # bytes that Kafka's batch and record headers take


async def test_the_largest_record_passes_and_one_more_byte_than_the_limit_does_not(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    largest = bytes(MAX_BATCH_BYTES - ROOM_FOR_FRAMING)
    assert await producer.publish("orders", NewRecord(value=largest), partition=1) == 0
    assert await producer.publish_batch(ORDERS, [NewRecord(value=largest)]) == 1
    for too_large in (bytes(MAX_BATCH_BYTES + 1), bytes(3 * MAX_BATCH_BYTES)):
        with pytest.raises(Refused):
            await producer.publish("orders", NewRecord(value=too_large), partition=1)
        with pytest.raises(Refused):
            await producer.publish_batch(ORDERS, [NewRecord(value=too_large)])
    assert await producer.publish("orders", NewRecord(value=b"after"), partition=1) == 2
    await consumer.assign({ORDERS: 0})
    assert [len(record.value or b"") for record in await read(consumer, 3)] == [len(largest), len(largest), 5]


async def test_many_callers_at_once_wait_and_their_order_is_kept(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    body = bytes(20_000)  # forty times what fits into one append
    sent = [NewRecord(key=b"%d" % index, value=body) for index in range(2_000)]
    publishing = [asyncio.ensure_future(producer.publish("orders", record, partition=1)) for record in sent]
    assert await asyncio.wait_for(asyncio.gather(*publishing), 30) == list(range(2_000))
    await consumer.assign({ORDERS: 0})
    assert [record.key for record in await read(consumer, 2_000, polls=400)] == [record.key for record in sent]


async def test_a_cancelled_publish_is_neither_success_nor_failure_and_the_producer_goes_on(cluster: Cluster) -> None:
    complaints = listen_for_complaints()
    bus = cluster.connect()
    await create(bus, "orders")
    producer, owner, consumer = await bus.producer(), await bus.take_over("shard-1"), await bus.consumer()
    await producer.publish("orders", NewRecord(value=b"first"), partition=1)
    cancelled = 0
    for passes in range(12):
        for client in (producer, owner):
            for publishing in (
                asyncio.ensure_future(client.publish("orders", NewRecord(value=b"unknown"), partition=1)),
                asyncio.ensure_future(client.publish_batch(ORDERS, [NewRecord(value=b"unknown")])),
            ):
                for _ in range(passes):
                    await asyncio.sleep(0)
                publishing.cancel()
                with suppress(asyncio.CancelledError):
                    await publishing
                cancelled += publishing.cancelled()
    assert cancelled
    for client in (producer, owner):
        await client.publish("orders", NewRecord(value=b"after"), partition=1)
    end = (await consumer.end_offsets([ORDERS]))[ORDERS]
    await consumer.assign({ORDERS: 0})
    seen = values(await read(consumer, end))
    assert seen[0] == b"first"
    assert seen.count(b"after") == 2
    assert seen.count(b"unknown") == end - 3 <= 48
    gc.collect()
    assert complaints == []


async def test_a_cancelled_poll_or_commit_leaves_a_member_that_goes_on(cluster: Cluster) -> None:
    complaints = listen_for_complaints()
    bus = cluster.connect()
    await create(bus, "market")
    producer = await bus.producer()
    heard = Heard()
    member = await bus.subscribe(["market"], "execution", heard)
    seen = []
    for index in range(20):
        await producer.publish("market", NewRecord(value=b"%d" % index), partition=0)
        polling = asyncio.ensure_future(member.poll(timeout_s=5))
        for _ in range(index):
            await asyncio.sleep(0)
        polling.cancel()
        with suppress(asyncio.CancelledError):
            seen += await polling
    seen += await read(member, 20 - len(seen))
    assert values(seen) == [b"%d" % index for index in range(20)]
    for passes in range(6):
        committing = asyncio.ensure_future(member.commit({Partition("market", 0): 10 + passes}))
        for _ in range(passes):
            await asyncio.sleep(0)
        committing.cancel()
        with suppress(asyncio.CancelledError):
            await committing
    await member.commit({Partition("market", 0): 20})
    assert await member.committed(Partition("market", 0)) == 20
    gc.collect()
    assert complaints == []


async def test_stopping_with_much_under_way_is_bounded_and_answers_every_caller(cluster: Cluster) -> None:
    complaints = listen_for_complaints()
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await producer.publish("orders", NewRecord(value=b"first"), partition=1)
    body = bytes(5_000)
    late = [asyncio.ensure_future(producer.publish("orders", NewRecord(value=body), partition=1)) for _ in range(1_000)]
    await asyncio.sleep(0)
    await asyncio.wait_for(producer.stop(), 10)
    outcomes = await asyncio.wait_for(asyncio.gather(*late, return_exceptions=True), 15)
    acknowledged = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert (await consumer.end_offsets([ORDERS]))[ORDERS] >= 1 + len(acknowledged)
    assert len(set(acknowledged)) == len(acknowledged)
    gc.collect()
    assert complaints == []


def listen_for_complaints() -> list[dict[str, Any]]:
    """What the event loop complains about from now on, such as an exception that nobody retrieved."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    return complaints
