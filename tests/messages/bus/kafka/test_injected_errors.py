"""The Kafka bus against brokers that err on demand: what was acknowledged is there exactly once, in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest

from messages import Consumer, NewRecord, Partition, Producer
from messages.bus.kafka.calls import KafkaTimeouts
from messages.errors import BusTimeout, ProducerFenced, Retryable
from tests.clusters import Heard, read, values
from tests.mock_cluster import Answer, MockCluster, Request, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

ORDERS = Partition("orders", 1)
PRODUCE_ERRORS = (
    Answer.LEADER_NOT_AVAILABLE,
    Answer.NOT_LEADER,
    Answer.REQUEST_TIMED_OUT,
    Answer.NOT_ENOUGH_REPLICAS,
    Answer.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    Answer.COORDINATOR_NOT_AVAILABLE,
)


@pytest.fixture
async def cluster() -> AsyncIterator[MockCluster]:
    under_test = MockCluster(brokers=3, timeouts=KafkaTimeouts(send_s=8, request_s=2, stop_s=2))
    under_test.create("orders", partitions=4, copies=3)
    yield under_test
    await under_test.stop()


async def reader(cluster: MockCluster) -> Consumer:
    consumer = await cluster.connect().consumer()
    await consumer.assign({ORDERS: 0})
    return consumer


async def check(cluster: MockCluster, acknowledged: Sequence[tuple[int, bytes]]) -> None:
    """What was acknowledged is there at its offset, and nothing else is."""
    consumer = await reader(cluster)
    records = await read(consumer, len(acknowledged), polls=400)  # the mock gives one append a fetch
    assert [(record.offset, record.value) for record in records] == list(acknowledged)
    assert await consumer.end_offsets([ORDERS]) == {ORDERS: len(acknowledged)}


async def test_the_mock_carries_appends_reads_headers_batches_and_seeks(cluster: MockCluster) -> None:
    bus = cluster.connect()
    assert await bus.partition_count("orders") == 4
    producer, consumer = await bus.producer(), await reader(cluster)
    headers = (("log", b"\x00\xff"), ("log", b""))
    assert await producer.publish("orders", NewRecord(key=b"k", value=b"0", headers=headers), partition=1) == 0
    assert await producer.publish_batch(ORDERS, [NewRecord(value=b"1"), NewRecord(value=None)]) == 1
    records = await read(consumer, 3)
    assert [(record.key, record.value, record.headers) for record in records] == [
        (b"k", b"0", headers),
        (None, b"1", ()),
        (None, None, ()),
    ]
    await consumer.seek(ORDERS, 1)
    assert values(await read(consumer, 2)) == [b"1", None]


@pytest.mark.parametrize("answer", PRODUCE_ERRORS, ids=lambda answer: answer.name.lower())
async def test_refused_appends_are_sent_again_once_and_in_order(cluster: MockCluster, answer: Answer) -> None:
    producer = await cluster.connect().producer()
    acknowledged = [(await producer.publish("orders", NewRecord(value=b"first"), partition=1), b"first")]
    cluster.fail(Request.PRODUCE, [answer] * 3)
    sent = [b"%d" % index for index in range(50)]
    offsets = await asyncio.gather(*(producer.publish("orders", NewRecord(value=value), partition=1) for value in sent))
    acknowledged += zip(offsets, sent, strict=True)
    cluster.fail(Request.PRODUCE, [answer])
    first = await producer.publish_batch(ORDERS, [NewRecord(value=b"a"), NewRecord(value=b"b")])
    await check(cluster, [*acknowledged, (first, b"a"), (first + 1, b"b")])


@pytest.mark.parametrize("answer", [Answer.NOT_LEADER, Answer.REQUEST_TIMED_OUT], ids=["not_leader", "timed_out"])
async def test_refused_fetches_lose_and_repeat_nothing(cluster: MockCluster, answer: Answer) -> None:
    producer, consumer = await cluster.connect().producer(), await reader(cluster)
    seen: list[bytes | None] = []
    for index in range(10):
        await producer.publish("orders", NewRecord(value=b"%d" % index), partition=1)
        cluster.fail(Request.FETCH, [answer])
        seen += values(await read(consumer, 1))
    assert seen == [b"%d" % index for index in range(10)]


async def test_a_leader_that_moves_under_load_costs_no_record(cluster: MockCluster) -> None:
    producer = await cluster.connect().producer()
    acknowledged = []
    for index in range(60):
        if index % 10 == 0:
            cluster.lead("orders", 1, 1 + index // 10 % 3)
        value = b"%d" % index
        acknowledged.append((await producer.publish("orders", NewRecord(value=value), partition=1), value))
    await check(cluster, acknowledged)


async def test_brokers_that_go_and_come_back_cost_time_and_no_acknowledged_record(cluster: MockCluster) -> None:
    cluster.lead("orders", 1, 2)
    producer = await cluster.connect().producer()
    await producer.publish("orders", NewRecord(value=b"first"), partition=1)
    cluster.down(2)
    late = asyncio.ensure_future(producer.publish("orders", NewRecord(value=b"late"), partition=1))
    done, _ = await asyncio.wait({late}, timeout=0.3)
    assert not done
    cluster.up(2)
    with suppress(Retryable):  # then its fate is unknown: it may be there, but not twice
        assert await late == 1
    last = await producer.publish("orders", NewRecord(value=b"last"), partition=1)
    seen = values(await read(await reader(cluster), last + 1))
    assert seen in ([b"first", b"late", b"last"], [b"first", b"last"])


async def test_a_coordinator_that_moves_costs_a_commit_nothing(cluster: MockCluster) -> None:
    cluster.create("market", partitions=4, copies=3)
    bus = cluster.connect()
    producer, heard = await bus.producer(), Heard()
    await producer.publish("market", NewRecord(value=b"1"), partition=0)
    member = await bus.subscribe(["market"], "execution", heard)
    assert values(await read(member, 1)) == [b"1"]
    for answer in (Answer.COORDINATOR_NOT_AVAILABLE, Answer.NOT_COORDINATOR):
        cluster.fail(Request.OFFSET_COMMIT, [answer])
    await member.commit({Partition("market", 0): 1})
    assert await member.committed(Partition("market", 0)) == 1


@pytest.mark.parametrize(
    "answer",
    [Answer.COORDINATOR_LOAD_IN_PROGRESS, Answer.CONCURRENT_TRANSACTIONS, Answer.NOT_COORDINATOR],
    ids=lambda answer: answer.name.lower(),
)
async def test_a_coordinator_that_is_not_ready_delays_an_owner_and_no_more(
    cluster: MockCluster, answer: Answer
) -> None:
    cluster.fail(Request.INIT_PRODUCER_ID, [answer] * 2)
    owner = await cluster.connect().take_over("shard-1")
    offset = await owner.publish("orders", NewRecord(value=b"claim"), partition=1)
    await check(cluster, [(offset, b"claim")])


async def test_an_owner_whose_append_is_fenced_is_fenced_for_good(cluster: MockCluster) -> None:
    owner = await cluster.connect().take_over("shard-1")
    await owner.publish("orders", NewRecord(value=b"claim"), partition=1)
    cluster.fail(Request.PRODUCE, [Answer.INVALID_PRODUCER_EPOCH])  # brokers tell appends no other error of fencing
    for _ in range(2):
        with pytest.raises(ProducerFenced, match="shard-1"):
            await owner.publish("orders", NewRecord(value=b"late"), partition=1)
    await check(cluster, [(0, b"claim")])


async def test_a_position_that_a_broker_wrongly_calls_out_of_range_is_read_on(cluster: MockCluster) -> None:
    producer, consumer = await cluster.connect().producer(), await reader(cluster)
    seen: list[bytes | None] = []
    for index in range(3):
        await producer.publish("orders", NewRecord(value=b"%d" % index), partition=1)
        cluster.fail(Request.FETCH, [Answer.OFFSET_OUT_OF_RANGE])
        seen += values(await read(consumer, 1))
    assert seen == [b"%d" % index for index in range(3)]


async def test_a_topic_that_loses_its_leader_in_metadata_is_waited_for(cluster: MockCluster) -> None:
    cluster.lead("orders", 1, 1)
    producer = await cluster.connect().producer()
    assert await producer.publish("orders", NewRecord(value=b"first"), partition=1) == 0
    cluster.fail_topic("orders", Answer.LEADER_NOT_AVAILABLE)
    cluster.lead("orders", 1, 2)  # so that the next append makes the client ask for metadata
    late = asyncio.ensure_future(producer.publish("orders", NewRecord(value=b"late"), partition=1))
    done, _ = await asyncio.wait({late}, timeout=0.3)
    assert not done
    cluster.fail_topic("orders", None)
    await check(cluster, [(0, b"first"), (await late, b"late")])


async def test_offsets_that_fail_are_asked_for_again(cluster: MockCluster) -> None:
    producer, consumer = await cluster.connect().producer(), await reader(cluster)
    await producer.publish("orders", NewRecord(value=b"0"), partition=1)
    cluster.fail(Request.LIST_OFFSETS, [Answer.NOT_LEADER, Answer.LEADER_NOT_AVAILABLE])
    assert await consumer.end_offsets([ORDERS]) == {ORDERS: 1}


async def test_a_broker_slower_than_the_time_out_is_a_time_out_and_both_clients_go_on_after_it() -> None:
    cluster = MockCluster(timeouts=KafkaTimeouts(send_s=0.4, request_s=5, metadata_s=0.4, stop_s=2))
    cluster.create("orders", partitions=4)
    try:
        producer, consumer = await cluster.connect().producer(), await reader(cluster)
        assert await producer.publish("orders", NewRecord(value=b"first"), partition=1) == 0
        cluster.slow(1, 1_000)
        with pytest.raises(BusTimeout, match="publish"):
            await producer.publish("orders", NewRecord(value=b"unknown"), partition=1)
        with pytest.raises(BusTimeout, match="end offsets"):
            await consumer.end_offsets([ORDERS])
        cluster.slow(1, 0)
        last = await publish_in_the_end(producer, b"last")
        seen = values(await read(consumer, last + 1))
        assert (seen[0], seen[-1], seen.count(b"last")) == (b"first", b"last", 1)
        assert seen.count(b"unknown") <= 1
    finally:
        await cluster.stop()


async def publish_in_the_end(producer: Producer, value: bytes) -> int:
    """Append behind what is still under way, which may take longer than one time-out."""
    for _ in range(10):
        try:
            return await producer.publish("orders", NewRecord(value=value), partition=1)
        except BusTimeout:
            continue
    raise TimeoutError("the producer has not become usable again")
