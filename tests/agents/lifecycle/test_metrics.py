"""What a process shows Prometheus, asked over HTTP."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.lifecycle import local_kafka
from agents.lifecycle.dead_letters import dead_letters
from agents.lifecycle.metrics import BusCollector, serving_metrics
from messages import ClientState, NewRecord, Partition, Record, SystemClock
from messages.bus.kafka.bus import KafkaBus
from messages.bus.kafka.calls import KafkaTimeouts
from messages.bus.memory.broker import MemoryBroker
from tests.brokers import own_broker
from tests.clusters import create, read

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def get(port: int, path: str = "/metrics", *, method: str = "GET") -> tuple[str, str]:
    """Return status line and body."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return head.splitlines()[0], body


async def scrape(port: int) -> Samples:
    status, body = await get(port)
    assert status == "HTTP/1.0 200 OK"
    families = text_string_to_metric_families(body)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving_metrics(MemoryBroker().connect(), SystemClock(), host="127.0.0.1", port=0) as port:
        assert port is not None
        yield port


async def test_the_loop_and_dead_letters_are_shown_without_any_kafka(port: int) -> None:
    record = Record(topic="market", partition=0, offset=1, timestamp_ms=1, key=None, value=b"{")
    dead_letters(record, "broken", agent_id="execution-1", ts=1)
    samples = await scrape(port)
    while of(samples, "tickpilot_loop_late_seconds_count") < 2:
        await asyncio.sleep(0.05)
        samples = await scrape(port)
    assert of(samples, "tickpilot_dead_letters_total", topic="market") >= 1


async def test_other_paths_and_methods_are_unknown_and_nonsense_does_no_harm(port: int) -> None:
    assert (await get(port, "/secrets"))[0] == "HTTP/1.0 404 Not Found"
    assert (await get(port, method="POST"))[0] == "HTTP/1.0 404 Not Found"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * 100_000)
    writer.close()
    assert (await get(port))[0] == "HTTP/1.0 200 OK"


async def test_without_a_port_nothing_is_served() -> None:
    async with serving_metrics(MemoryBroker().connect(), SystemClock(), host="127.0.0.1", port=None) as port:
        assert port is None


def test_clients_of_one_name_get_a_label_each_and_readers_and_writers_their_own_figures() -> None:
    def states() -> Iterable[ClientState]:
        return (
            ClientState(name="orders", kind="consumer", handled=7, behind=3, rebuilds=1),
            ClientState(name="producer", kind="producer", handled=5, behind=2, timeouts=4),
            ClientState(name="producer", kind="producer"),
        )

    collected = BusCollector(states, SystemClock()).collect()
    found = {(s.name, s.labels["client"]): s.value for family in collected for s in family.samples}
    assert found["tickpilot_bus_lag_records", "orders"] == 3
    assert found["tickpilot_bus_records_read_total", "orders"] == 7
    assert found["tickpilot_bus_client_rebuilds_total", "orders"] == 1
    assert found["tickpilot_bus_sends_unacknowledged", "producer"] == 2
    assert found["tickpilot_bus_sends_acknowledged_total", "producer"] == 5
    assert found["tickpilot_bus_timeouts_total", "producer"] == 4
    assert found["tickpilot_bus_client_up", "producer #2"] == 1


@pytest.mark.kafka
async def test_a_stall_is_shown_with_its_reason_and_its_end() -> None:
    with own_broker() as broker:
        bus = KafkaBus(broker.url, timeouts=KafkaTimeouts(stall_s=1, look_s=0.2, send_s=3))
        await create(bus, "orders")
        producer, consumer = await bus.producer(), await bus.consumer()
        await consumer.assign({Partition("orders", 1): 0})
        await producer.publish("orders", NewRecord(value=b"1"), partition=1)
        assert len(await read(consumer, 1)) == 1
        async with serving_metrics(bus, SystemClock(), host="127.0.0.1", port=0) as port:
            assert port is not None
            who = {"client": "orders-1", "kind": "consumer"}
            assert of(await scrape(port), "tickpilot_bus_client_up", **who) == 1
            os.kill(local_kafka.pid_of(broker), signal.SIGSTOP)
            polling = asyncio.create_task(consumer.poll(timeout_s=60))
            try:
                await _until(port, 0, **who)
                samples = await scrape(port)
                reason = "no broker says where the end is"
                assert of(samples, "tickpilot_bus_client_stalled_seconds", **who, reason=reason) >= 1
            finally:
                os.kill(local_kafka.pid_of(broker), signal.SIGCONT)
            await _until(port, 1, **who)
            await producer.publish("orders", NewRecord(value=b"2"), partition=1)
            assert len(await polling) == 1
            samples = await scrape(port)
            assert of(samples, "tickpilot_bus_records_read_total", **who) == 2
            assert of(samples, "tickpilot_bus_lag_records", **who) == 0
        await bus.stop()


async def _until(port: int, up: float, **who: str) -> None:
    async with asyncio.timeout(30):
        while of(await scrape(port), "tickpilot_bus_client_up", **who) != up:  # noqa: ASYNC110 - HTTP has no event
            await asyncio.sleep(0.1)
