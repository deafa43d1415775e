"""The contract of a bus: topics, appends and reads, the same on every implementation."""

import asyncio

import pytest

from messages import NewRecord, Partition, Refused
from messages.bus.partitioner import partition_of
from messages.errors import BusUnavailable, TopicMismatch
from messages.topics import TOPICS
from tests.clusters import SHARDS, Cluster, create, read, values

# Computed with an implementation of murmur2 of its own; 21 and foobar are the values in Kafka's own UtilsTest.
MURMUR2_MOD_4 = {b"BTC-USD": 1, b"ETH-USD": 0, b"EUR/USD": 0, b"AAPL": 1, b"ES-2026-12": 2, b"x": 2, "ä".encode(): 1}
MURMUR2_21, MURMUR2_FOOBAR = -973932308, -790332482
ORDERS = Partition("orders", 1)


async def test_creating_topics_twice_creates_them_once(cluster: Cluster) -> None:
    bus = cluster.connect()
    topics = [TOPICS["market"], TOPICS["control"]]
    assert await bus.create_topics(topics, shards=SHARDS) == ["market", "control"]
    assert await bus.create_topics([*topics, TOPICS["status"]], shards=SHARDS) == ["status"]
    assert await bus.partition_count("market") == SHARDS
    assert await bus.partition_count("control") == 1


async def test_all_registered_topics_are_described_as_registered(cluster: Cluster) -> None:
    bus = cluster.connect()
    await bus.create_topics(TOPICS.values(), shards=SHARDS)
    states = await bus.describe_topics([*TOPICS, "no-such-topic"])
    assert {name: (state.partitions, state.config) for name, state in states.items()} == {
        name: (topic.partitions(SHARDS), topic.broker_config()) for name, topic in TOPICS.items()
    }


async def test_a_missing_topic_or_partition_is_a_mismatch(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    with pytest.raises(TopicMismatch, match="market"):
        await bus.partition_count("market")
    with pytest.raises(TopicMismatch, match="market"):
        await producer.publish("market", NewRecord(value=b"1", key=b"BTC-USD"))
    with pytest.raises(TopicMismatch, match="99"):
        await producer.publish("orders", NewRecord(value=b"1"), partition=99)
    with pytest.raises(TopicMismatch, match="99"):
        await producer.publish_batch(Partition("orders", 99), [NewRecord(value=b"1")])
    with pytest.raises(TopicMismatch, match="99"):
        await consumer.assign({Partition("orders", 99): 0})
    with pytest.raises(TopicMismatch, match="market"):
        await consumer.end_offsets([Partition("market", 0)])


async def test_records_of_a_partition_keep_their_order_and_get_dense_offsets(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    sent = [NewRecord(value=b"%d" % index) for index in range(200)]
    offsets = await asyncio.gather(*(producer.publish("orders", record, partition=1) for record in sent))
    assert offsets == list(range(200))
    await consumer.assign({ORDERS: 0})
    records = await read(consumer, 200)
    assert [(record.offset, record.value) for record in records] == [(n, b"%d" % n) for n in range(200)]


async def test_keys_go_to_the_partition_that_java_clients_take(cluster: Cluster) -> None:
    assert partition_of(b"21", 2**31) == MURMUR2_21 & 0x7FFFFFFF
    assert partition_of(b"foobar", 2**31) == MURMUR2_FOOBAR & 0x7FFFFFFF
    bus = cluster.connect()
    await create(bus, "market")
    producer, consumer = await bus.producer(), await bus.consumer()
    for key in MURMUR2_MOD_4:
        await producer.publish("market", NewRecord(key=key, value=b"1"))
    await consumer.assign({Partition("market", number): 0 for number in range(SHARDS)})
    records = await read(consumer, len(MURMUR2_MOD_4))
    assert {record.key: record.partition for record in records} == MURMUR2_MOD_4


async def test_key_value_and_headers_come_back_byte_for_byte(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    headers = (("content-type", b"application/msgpack"), ("log", bytes(range(256))), ("log", b""))
    await producer.publish("orders", NewRecord(key=b"k", value=b"\x00\xff", headers=headers), partition=1)
    await producer.publish("orders", NewRecord(key=b"k", value=None), partition=1)
    await producer.publish("orders", NewRecord(value=b""), partition=1)
    await consumer.assign({ORDERS: 0})
    records = await read(consumer, 3)
    assert [(record.key, record.value, record.headers) for record in records] == [
        (b"k", b"\x00\xff", headers),
        (b"k", None, ()),
        (None, b"", ()),
    ]
    assert {(record.topic, record.partition) for record in records} == {("orders", 1)}


async def test_time_stamps_do_not_fall_on_market(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "market")
    producer, consumer = await bus.producer(), await bus.consumer()
    for index in range(20):
        await producer.publish("market", NewRecord(key=b"BTC-USD", value=b"%d" % index))
    await consumer.assign({Partition("market", 1): 0})
    stamps = [record.timestamp_ms for record in await read(consumer, 20)]
    assert stamps == sorted(stamps)
    assert stamps[0] > 1_600_000_000_000


async def test_poll_returns_an_empty_list_when_nothing_comes_in_time(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    consumer = await bus.consumer()
    assert await consumer.poll(timeout_s=0.01) == []
    await consumer.assign({ORDERS: 0})
    assert await consumer.poll(timeout_s=0.05) == []
    assert await consumer.poll(timeout_s=0) == []


async def test_a_waiting_poll_wakes_for_a_new_record(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await consumer.assign({ORDERS: 0})
    waiting = asyncio.ensure_future(consumer.poll(timeout_s=10))
    await producer.publish("orders", NewRecord(value=b"1"), partition=1)
    assert values(await asyncio.wait_for(waiting, 5)) == [b"1"]


async def test_who_gathers_gets_the_first_record_at_once_and_all_in_order(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer(gather_s=0.05)
    await consumer.assign({ORDERS: 0})
    seen = []
    for index in range(20):
        await producer.publish("orders", NewRecord(value=b"%d" % index), partition=1)
        seen += await consumer.poll(timeout_s=0)
    async with asyncio.timeout(10):
        while len(seen) < 20:
            seen += await consumer.poll(timeout_s=1)
    assert values(seen) == [b"%d" % index for index in range(20)]


async def test_who_gathers_can_seek_and_stop_while_a_request_waits(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer(gather_s=0.001)
    await producer.publish("orders", NewRecord(value=b"1"), partition=1)
    await consumer.assign({ORDERS: 1})
    assert await consumer.poll(timeout_s=0.05) == []
    await consumer.seek(ORDERS, 0)
    assert values(await read(consumer, 1)) == [b"1"]
    assert await consumer.poll(timeout_s=0.05) == []
    async with asyncio.timeout(5):
        await consumer.stop()


async def test_poll_returns_no_more_than_asked_for_and_position_follows(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await producer.publish_batch(ORDERS, [NewRecord(value=b"%d" % index) for index in range(10)])
    await consumer.assign({ORDERS: 2})
    assert consumer.position(ORDERS) == 2
    assert values(await consumer.poll(max_records=3, timeout_s=5)) == [b"2", b"3", b"4"]
    assert consumer.position(ORDERS) == 5
    assert values(await read(consumer, 5)) == [b"5", b"6", b"7", b"8", b"9"]
    with pytest.raises(KeyError):
        consumer.position(Partition("orders", 0))


async def test_seek_goes_back_and_forth_and_drops_what_was_read_ahead(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await producer.publish_batch(ORDERS, [NewRecord(value=b"%d" % index) for index in range(10)])
    await consumer.assign({ORDERS: 0})
    assert values(await consumer.poll(max_records=2, timeout_s=5)) == [b"0", b"1"]
    await consumer.seek(ORDERS, 8)
    assert values(await read(consumer, 2)) == [b"8", b"9"]
    await consumer.seek(ORDERS, 1)
    assert consumer.position(ORDERS) == 1
    assert values(await consumer.poll(max_records=2, timeout_s=5)) == [b"1", b"2"]


async def test_assigning_anew_replaces_partitions_and_positions(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    for number in range(2):
        await producer.publish_batch(Partition("orders", number), [NewRecord(value=b"%d" % i) for i in range(4)])
    await consumer.assign({Partition("orders", 0): 0})
    assert len(await read(consumer, 4)) == 4
    await consumer.assign({Partition("orders", 0): 3, Partition("orders", 1): 1})
    records = await read(consumer, 4)
    assert sorted((record.partition, record.value) for record in records) == [
        (0, b"3"),
        (1, b"1"),
        (1, b"2"),
        (1, b"3"),
    ]
    await consumer.assign({})
    assert await consumer.poll(timeout_s=0.05) == []


async def test_a_paused_partition_is_silent_until_it_is_resumed(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    zero = Partition("orders", 0)
    await consumer.assign({zero: 0, ORDERS: 0})
    consumer.pause([ORDERS])
    await producer.publish("orders", NewRecord(value=b"paused"), partition=1)
    await producer.publish("orders", NewRecord(value=b"flowing"), partition=0)
    assert values(await read(consumer, 2, polls=2)) == [b"flowing"]
    assert consumer.position(ORDERS) == 0
    consumer.resume([ORDERS])
    assert values(await read(consumer, 1)) == [b"paused"]


async def test_a_pause_outlives_a_new_assignment(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await producer.publish("orders", NewRecord(value=b"1"), partition=1)
    consumer.pause([ORDERS])
    await consumer.assign({ORDERS: 0})
    assert await consumer.poll(timeout_s=0.1) == []
    consumer.resume([ORDERS])
    assert values(await read(consumer, 1)) == [b"1"]


async def test_beginning_and_end_offsets_need_no_assignment(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await producer.publish_batch(ORDERS, [NewRecord(value=b"1")] * 3)
    both = [Partition("orders", 0), ORDERS]
    assert await consumer.beginning_offsets(both) == {both[0]: 0, ORDERS: 0}
    assert await consumer.end_offsets(both) == {both[0]: 0, ORDERS: 3}


async def test_a_batch_is_one_append(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    assert await producer.publish("orders", NewRecord(value=b"first"), partition=1) == 0
    batch = [NewRecord(key=b"k", value=b"%d" % index, headers=(("log", b"l"),)) for index in range(5)]
    assert await producer.publish_batch(ORDERS, batch) == 1
    await consumer.assign({ORDERS: 1})
    assert [(r.key, r.value, r.headers) for r in await read(consumer, 5)] == [
        (r.key, r.value, r.headers) for r in batch
    ]


async def test_what_is_too_large_for_one_append_is_refused_whole(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    with pytest.raises(Refused):
        await producer.publish_batch(ORDERS, [NewRecord(value=bytes(100_000))] * 11)
    with pytest.raises(Refused):
        await producer.publish_batch(ORDERS, [NewRecord(value=bytes(1_100_000))])
    with pytest.raises(Refused):
        await producer.publish("orders", NewRecord(value=b"1", headers=(("log", bytes(1_100_000)),)), partition=1)
    with pytest.raises(Refused):
        await producer.publish_batch(ORDERS, [])
    assert (await consumer.end_offsets([ORDERS]))[ORDERS] == 0
    assert await producer.publish_batch(ORDERS, [NewRecord(value=bytes(100_000))] * 9) == 0
    assert await producer.publish("orders", NewRecord(value=bytes(900_000)), partition=1) == 9
    await consumer.assign({ORDERS: 0})
    assert sum(len(record.value or b"") for record in await read(consumer, 10)) == 1_800_000


async def test_a_cancelled_poll_loses_no_record(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await consumer.assign({ORDERS: 0})
    waiting = asyncio.ensure_future(consumer.poll(timeout_s=10))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await producer.publish("orders", NewRecord(value=b"1"), partition=1)
    assert values(await read(consumer, 1)) == [b"1"]


async def test_stopping_twice_is_quiet_and_ends_what_the_client_did(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    producer, consumer = await bus.producer(), await bus.consumer()
    await consumer.assign({ORDERS: 0})
    await producer.publish("orders", NewRecord(value=b"1"), partition=1)
    for _ in range(2):
        await producer.stop()
        await consumer.stop()
    with pytest.raises(BusUnavailable):
        await producer.publish("orders", NewRecord(value=b"1"), partition=1)
    assert await consumer.poll(timeout_s=5) == []
    await bus.stop()
    await bus.stop()


async def test_a_consumer_may_stop_right_after_its_start(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    for _ in range(5):
        consumer = await bus.consumer()
        await consumer.assign({ORDERS: 0})
        await consumer.stop()


async def test_stopping_ends_a_waiting_poll(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "orders")
    consumer = await bus.consumer()
    await consumer.assign({ORDERS: 0})
    waiting = asyncio.ensure_future(consumer.poll(timeout_s=30))
    await asyncio.sleep(0)
    await consumer.stop()
    assert await asyncio.wait_for(waiting, 5) == []
