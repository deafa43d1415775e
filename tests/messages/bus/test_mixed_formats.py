"""JSON and msgpack on one topic, record by record, through both buses."""

import pytest

from messages import NewRecord, Partition, Quote, Trade, decode, encode
from messages.codec import JSON, MSGPACK, MSGPACK_HEADER, Headers
from messages.errors import BadMessage
from messages.market import MarketMessage
from messages.trace import TRACEPARENT, trace_of
from tests.clusters import Cluster, create, read

HOME = Partition("market", 0)
TRACE = (TRACEPARENT, b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
NAMED_JSON: Headers = (("content-type", JSON),)


def message(index: int) -> MarketMessage:
    if index % 3 == 2:
        return Trade(instrument="é", ts_recv=index, price=0.1 + 0.2, size=5e-324, aggressor="sell")
    return Quote(instrument="é", ts_recv=2**62 + index, bid=0.1 + 0.2, bid_size=0.0, ask=1e300, ask_size=1.0, seq=index)


def written(index: int) -> NewRecord:
    """JSON unnamed, JSON named, msgpack; every other one traced."""
    headers: Headers = ((), NAMED_JSON, (MSGPACK_HEADER,))[index // 2 % 3]
    form = MSGPACK if MSGPACK_HEADER in headers else JSON
    return NewRecord(value=encode(message(index), form), headers=headers + ((TRACE,) if index % 2 else ()))


async def test_each_record_is_read_by_its_own_header(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "market")
    producer = await bus.producer()
    for index in range(6):
        await producer.publish("market", written(index), partition=HOME.number)
    await producer.publish_batch(HOME, [written(index) for index in range(6, 24)])  # one batch holds both formats
    consumer = await bus.consumer()
    await consumer.assign({HOME: 0})
    records = await read(consumer, 24)
    assert [decode("market", record.value, record.headers) for record in records] == [message(n) for n in range(24)]
    assert [trace_of(record.headers) for record in records] == [(TRACE,) if n % 2 else () for n in range(24)]


async def test_a_record_under_the_other_formats_header_is_refused(cluster: Cluster) -> None:
    bus = cluster.connect()
    await create(bus, "market")
    producer = await bus.producer()
    wrong = [
        NewRecord(value=encode(message(0)), headers=(MSGPACK_HEADER,)),
        NewRecord(value=encode(message(0), MSGPACK)),
        NewRecord(value=encode(message(0)), headers=(("content-type", b"text/plain"),)),
    ]
    await producer.publish_batch(HOME, wrong)
    consumer = await bus.consumer()
    await consumer.assign({HOME: 0})
    for record in await read(consumer, len(wrong)):
        with pytest.raises(BadMessage):
            decode("market", record.value, record.headers)
