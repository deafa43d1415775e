"""Stalled clients on a real Kafka: rebuilt when another one works where they don't, and nothing is lost or doubled."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from agents.lifecycle import local_kafka
from messages import BusTimeout, ClientState, NewRecord, Partition
from messages.bus.kafka.bus import KafkaBus
from messages.bus.kafka.calls import KafkaTimeouts
from messages.bus.kafka.consumer import KafkaConsumer
from messages.bus.kafka.producer import KafkaProducer
from tests.brokers import own_broker
from tests.clusters import Heard, create, read, values

pytestmark = pytest.mark.kafka

QUICK = KafkaTimeouts(stall_s=1.0, look_s=0.1, send_s=4.0, stop_s=2.0)
ORDERS, OTHER = Partition("orders", 1), Partition("orders", 2)


async def stuck_bus(url: str, prefix: str) -> KafkaBus:
    bus = KafkaBus(url, prefix=prefix, timeouts=QUICK)
    await create(bus, "orders")
    return bus


def prefix_of(request: pytest.FixtureRequest) -> str:
    return f"rebuild-{abs(hash(request.node.name)) % 10**8}-{os.getpid()}-"


async def publish(bus: KafkaBus, *texts: bytes, partition: Partition = ORDERS) -> None:
    producer = await bus.producer()
    for value in texts:
        await producer.publish(partition.topic, NewRecord(value=value), partition=partition.number)
    await producer.stop()


def stop_fetching(consumer: Any) -> None:
    """What a fetch does whose answer never comes: aiokafka waits, and asks for nothing else meanwhile."""
    consumer._raw._client.send = _never_for(consumer._raw._client.send, "FetchRequest")


def stop_sending(producer: Any) -> None:
    producer._raw.client.send = _never_for(producer._raw.client.send, "ProduceRequest")


def _never_for(send: Callable[..., Any], name: str) -> Callable[..., Any]:
    async def never(node: int, request: Any, **options: Any) -> Any:
        if type(request).__name__.startswith(name):
            await asyncio.get_running_loop().create_future()
        return await send(node, request, **options)

    return never


def state_of(bus: KafkaBus, name: str) -> ClientState:
    return next(state for state in bus.health() if state.name == name)


async def until(condition: Callable[[], bool], *, polls: int = 200) -> None:
    for _ in range(polls):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to that")


@pytest.mark.parametrize("break_it", [stop_fetching, lambda c: c._raw._fetcher._fetch_task.cancel()])
async def test_a_stalled_consumer_goes_on_at_its_positions_with_its_pauses(
    kafka_url: str, request: pytest.FixtureRequest, break_it: Callable[[Any], None]
) -> None:
    bus = await stuck_bus(kafka_url, prefix_of(request))
    consumer = await bus.consumer()
    await consumer.assign({ORDERS: 0, OTHER: 0})
    consumer.pause([OTHER])
    await publish(bus, b"1", b"2")
    assert values(await read(consumer, 2)) == [b"1", b"2"]
    break_it(consumer)
    await publish(bus, b"3", b"4")
    await publish(bus, b"paused", partition=OTHER)
    assert values(await read(consumer, 2)) == [b"3", b"4"]
    assert await consumer.poll(timeout_s=0.3) == []
    consumer.resume([OTHER])
    assert values(await read(consumer, 1)) == [b"paused"]
    state = state_of(bus, "orders")
    assert (state.kind, state.state, state.rebuilds, state.handled) == ("consumer", "ok", 1, 5)
    await bus.stop()


async def test_a_stalled_member_gives_up_what_it_holds_and_joins_anew(
    kafka_url: str, request: pytest.FixtureRequest
) -> None:
    bus = await stuck_bus(kafka_url, prefix_of(request))
    heard = Heard()
    member = await bus.subscribe(["orders"], "execution", heard, member="static-1")
    await publish(bus, b"1", b"2")
    assert values(await read(member, 2)) == [b"1", b"2"]
    await member.commit({ORDERS: 2})
    stop_fetching(member)
    await publish(bus, b"3")
    assert values(await read(member, 1)) == [b"3"]
    assert (len(heard.revoked), len(heard.held), heard.assignments) == (4, 4, 2)
    state = state_of(bus, "group execution")
    assert (state.kind, state.state, state.rebuilds) == ("member", "ok", 1)
    await bus.stop()


async def test_a_consumer_that_nobody_polls_is_left_alone(kafka_url: str, request: pytest.FixtureRequest) -> None:
    bus = await stuck_bus(kafka_url, prefix_of(request))
    consumer = await bus.consumer()
    await consumer.assign({ORDERS: 0})
    assert isinstance(consumer, KafkaConsumer)
    stop_fetching(consumer)
    await publish(bus, b"1")
    now_ns = 10**18
    assert [(await consumer.look(now_ns + n * 10**9)).state for n in range(5)] == ["ok"] * 5
    await bus.stop()


async def test_a_producer_without_acknowledgements_is_replaced_and_only_what_was_under_way_is_unknown(
    kafka_url: str, request: pytest.FixtureRequest
) -> None:
    bus = await stuck_bus(kafka_url, prefix_of(request))
    producer, consumer = await bus.producer(), await bus.consumer()
    await producer.publish("orders", NewRecord(value=b"1"), partition=1)
    stop_sending(producer)
    for call in (
        producer.publish("orders", NewRecord(value=b"stuck"), partition=1),
        producer.publish_batch(ORDERS, [NewRecord(value=b"stuck")]),
    ):
        with pytest.raises(BusTimeout):
            await call
        assert await producer.publish("orders", NewRecord(value=b"after"), partition=1) > 0
        stop_sending(producer)
    await consumer.assign({ORDERS: 0})
    assert values(await read(consumer, 3)) == [b"1", b"after", b"after"]
    state = state_of(bus, "producer")
    assert (state.kind, state.state, state.rebuilds, state.handled, state.timeouts) == ("producer", "ok", 2, 3, 2)
    await bus.stop()


async def test_a_producer_whose_sending_has_died_is_replaced(kafka_url: str, request: pytest.FixtureRequest) -> None:
    bus = await stuck_bus(kafka_url, prefix_of(request))
    producer = await bus.producer()
    assert isinstance(producer, KafkaProducer)
    producer._raw._sender.sender_task.cancel()
    await until(lambda: state_of(bus, "producer").rebuilds == 1)
    assert await producer.publish("orders", NewRecord(value=b"1"), partition=1) == 0
    await bus.stop()


async def test_the_producer_of_a_shard_is_never_rebuilt_but_its_stall_is_told(
    kafka_url: str, request: pytest.FixtureRequest
) -> None:
    bus = await stuck_bus(kafka_url, prefix_of(request))
    owner = await bus.take_over("shard-1-orders")
    stop_sending(owner)
    sending = asyncio.create_task(owner.publish("orders", NewRecord(value=b"1"), partition=1))
    await until(lambda: state_of(bus, "shard-1-orders").state == "stalled")
    with pytest.raises(BusTimeout):
        await sending
    state = state_of(bus, "shard-1-orders")
    assert (state.kind, state.rebuilds, state.timeouts) == ("owner", 0, 1)
    await bus.stop()


async def test_after_an_outage_all_go_on_and_what_recovers_by_itself_is_not_rebuilt() -> None:
    with own_broker() as broker:
        bus = await stuck_bus(broker.url, "")
        producer, consumer, heard = await bus.producer(), await bus.consumer(), Heard()
        member = await bus.subscribe(["orders"], "execution", heard)
        await consumer.assign({ORDERS: 0})
        await producer.publish("orders", NewRecord(value=b"1"), partition=1)
        assert len(await read(consumer, 1)) == len(await read(member, 1)) == 1
        os.kill(local_kafka.pid_of(broker), signal.SIGSTOP)
        try:
            sending = asyncio.create_task(producer.publish("orders", NewRecord(value=b"2"), partition=1))
            reading = asyncio.create_task(read(consumer, 1))
            hearing = asyncio.create_task(read(member, 1))
            await until(lambda: {state.state for state in bus.health()} == {"stalled"})
            reasons = {state.kind: state.reason for state in bus.health()}
            assert reasons["producer"] == "1 sends are not acknowledged"
            assert reasons["consumer"] == reasons["member"] == "no broker says where the end is"
            assert all(state.since_ns > 10**18 for state in bus.health())
        finally:
            os.kill(local_kafka.pid_of(broker), signal.SIGCONT)
        assert await sending == 1
        assert values(await reading) == values(await hearing) == [b"2"]
        await until(lambda: {state.state for state in bus.health()} == {"ok"})
        assert await producer.publish("orders", NewRecord(value=b"3"), partition=1) == 2
        assert values(await read(consumer, 1)) == [b"3"]
        assert state_of(bus, "orders-1").rebuilds == state_of(bus, "producer").rebuilds == 0
        await bus.stop()
