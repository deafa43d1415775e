"""The bus against a raw aiokafka loop with the same settings, a bare msgspec decode, and the in-memory bus alone.

Rounds alternate between ours and the baseline in one process; medians over the rounds.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.lifecycle.process import run_async
from messages import NewRecord, Partition, Quote, Record, connect, decode, encode
from messages.bus.kafka.calls import KafkaTimeouts
from messages.bus.protocol import MAX_BATCH_BYTES, Bus
from messages.topics import TOPICS
from tests.bench.measure import Pair, compared, percentile, report, result
from tests.brokers import running_kafka

ROUNDS = 7
PACE_HZ, PACED_TICKS, WARM_UP_TICKS = 333, 1_000, 100
BULK_RECORDS, BULK_SHARE = 40_000, 512
DECODES = 50_000
MEMORY_RECORDS = 100_000
TIMEOUT_S = 60.0
QUOTE = encode(
    Quote(
        instrument="BTCUSDT",
        ts_recv=1_767_603_600_000_000_000,
        bid=61837.63,
        bid_size=3.7,
        ask=61837.64,
        ask_size=1.5,
    )
)
IN, OUT = "market", "orders"
_KEY = b"BTCUSDT"
_prefixes = count()


class Client(Protocol):
    """What both sides of a comparison can do, with a partition 0 each of IN and OUT."""

    async def send(self, topic: str, value: bytes) -> None: ...

    async def read(self, topic: str) -> list[bytes]: ...

    async def forward_each(self, records: int) -> None: ...

    async def forward_batches(self, records: int) -> None: ...


class RawClient:
    """aiokafka as it comes, idempotent, with the settings of our bus."""

    def __init__(self, producer: AIOKafkaProducer, consumers: dict[str, AIOKafkaConsumer], prefix: str) -> None:
        self._producer, self._consumers, self._prefix = producer, consumers, prefix

    async def send(self, topic: str, value: bytes) -> None:
        await self._producer.send_and_wait(self._prefix + topic, value, _KEY, partition=0)

    async def read(self, topic: str) -> list[bytes]:
        batches = await self._consumers[topic].getmany(timeout_ms=1000, max_records=512)
        return [record.value for batch in batches.values() for record in batch]

    async def forward_each(self, records: int) -> None:
        async for batch in self._batches(records):
            sent = [
                await self._producer.send(self._prefix + OUT, record.value, record.key, partition=0) for record in batch
            ]
            await asyncio.gather(*sent)

    async def forward_batches(self, records: int) -> None:
        async for batch in self._batches(records):
            built = self._producer.create_batch()
            for record in batch:
                built.append(timestamp=None, key=record.key, value=record.value)
            await (await self._producer.send_batch(built, self._prefix + OUT, partition=0))

    async def _batches(self, records: int) -> AsyncIterator[list[Any]]:
        while records > 0:
            polled = await self._consumers[IN].getmany(timeout_ms=1000, max_records=BULK_SHARE)
            await asyncio.sleep(0)  # buffered records come without a pause: heartbeats would starve in a tight loop
            for batch in polled.values():
                records -= len(batch)
                yield batch


class OurClient:
    """The bus as agents use it."""

    def __init__(self, bus: Bus, **clients: Any) -> None:
        self._bus, self._producer = bus, clients["producer"]
        self._consumers = {IN: clients["ticks"], OUT: clients["answers"]}

    async def send(self, topic: str, value: bytes) -> None:
        await self._producer.publish(topic, NewRecord(key=_KEY, value=value), partition=0)

    async def read(self, topic: str) -> list[bytes]:
        return [record.value for record in await self._consumers[topic].poll(timeout_s=1.0)]

    async def forward_each(self, records: int) -> None:
        async for batch in self._batches(records):
            copies = [NewRecord(key=record.key, value=record.value) for record in batch]
            await asyncio.gather(*(self._producer.publish(OUT, copy, partition=0) for copy in copies))

    async def forward_batches(self, records: int) -> None:
        async for batch in self._batches(records):
            copies = [NewRecord(key=record.key, value=record.value) for record in batch]
            await self._producer.publish_batch(Partition(OUT, 0), copies)

    async def _batches(self, records: int) -> AsyncIterator[list[Record]]:
        while records > 0:
            batch = await self._consumers[IN].poll(max_records=BULK_SHARE)
            records -= len(batch)
            if batch:
                yield batch


@asynccontextmanager
async def raw_client(url: str) -> AsyncIterator[Client]:
    async with _topics(url) as prefix:
        timeouts, servers = KafkaTimeouts(), url.removeprefix("kafka://")
        producer = AIOKafkaProducer(
            bootstrap_servers=servers,
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=MAX_BATCH_BYTES,
            retry_backoff_ms=timeouts.retry_backoff_ms,
        )
        consumers = {}
        await producer.start()
        try:
            for topic in (IN, OUT):
                consumers[topic] = AIOKafkaConsumer(
                    bootstrap_servers=servers,
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
                    fetch_max_wait_ms=timeouts.fetch_wait_ms,
                )
                await consumers[topic].start()
                consumers[topic].assign([TopicPartition(prefix + topic, 0)])
            yield RawClient(producer, consumers, prefix)
        finally:
            for client in (producer, *consumers.values()):
                await client.stop()


@asynccontextmanager
async def our_client(url: str) -> AsyncIterator[Client]:
    async with _topics(url) as prefix:
        bus = connect(url, client="bench", prefix=prefix)
        try:
            ticks, answers = await bus.consumer(), await bus.consumer()
            await ticks.assign({Partition(IN, 0): 0})
            await answers.assign({Partition(OUT, 0): 0})
            yield OurClient(bus, producer=await bus.producer(), ticks=ticks, answers=answers)
        finally:
            await bus.stop()


@asynccontextmanager
async def _topics(url: str) -> AsyncIterator[str]:
    prefix = f"bench-{next(_prefixes)}-{perf_counter_ns()}-"
    bus = connect(url, prefix=prefix)
    try:
        await bus.create_topics([TOPICS[IN], TOPICS[OUT]], shards=1)
        yield prefix
    finally:
        await bus.stop()


async def paced_echo(client: Client) -> list[float]:
    """Microseconds from tick to answer: tick -> bus -> echo -> bus -> client, at PACE_HZ."""
    seen: list[float] = []

    async def echo() -> None:
        while True:
            for value in await client.read(IN):
                await client.send(OUT, value)

    async def listen() -> None:
        while len(seen) < WARM_UP_TICKS + PACED_TICKS:
            seen.extend((perf_counter_ns() - int(value)) / 1e3 for value in await client.read(OUT))

    echoing, listening = asyncio.create_task(echo()), asyncio.create_task(listen())
    began = perf_counter()
    for tick in range(WARM_UP_TICKS + PACED_TICKS):
        await asyncio.sleep(max(0.0, began + tick / PACE_HZ - perf_counter()))
        await client.send(IN, b"%d" % perf_counter_ns())
    await asyncio.wait_for(listening, TIMEOUT_S)
    echoing.cancel()
    await asyncio.gather(echoing, return_exceptions=True)
    return seen[WARM_UP_TICKS:]


async def flow_each(client: Client) -> float:
    """Records a second through consume-then-produce from a full topic, one send a record, each poll awaited."""
    return await _flow(client, client.forward_each)


async def flow_batches(client: Client) -> float:
    """The same with one append for each poll."""
    return await _flow(client, client.forward_batches)


async def _flow(client: Client, forward: Callable[[int], Awaitable[None]]) -> float:
    await fill(client)
    began = perf_counter()
    await asyncio.wait_for(forward(BULK_RECORDS), TIMEOUT_S)
    return BULK_RECORDS / (perf_counter() - began)


async def fill(client: Client) -> None:
    for _ in range(BULK_RECORDS // 500):
        await asyncio.gather(*(client.send(IN, QUOTE) for _ in range(500)))


def bare_decode() -> float:
    """Nanoseconds of msgspec alone."""
    bare = msgspec.json.Decoder(Quote).decode
    began = perf_counter_ns()
    for _ in range(DECODES):
        bare(QUOTE)
    return (perf_counter_ns() - began) / DECODES


def topic_decode() -> float:
    """Nanoseconds of the codec: any message of the topic, validated."""
    began = perf_counter_ns()
    for _ in range(DECODES):
        decode("market", QUOTE)
    return (perf_counter_ns() - began) / DECODES


async def in_memory() -> float:
    """Records a second from an awaited publish to a handler that is called for each."""
    bus = connect("memory://")
    await bus.create_topics([TOPICS[IN]], shards=1)
    producer, consumer = await bus.producer(), await bus.consumer()
    await consumer.assign({Partition(IN, 0): 0})
    handled = 0

    def handle(record: Record) -> None:
        nonlocal handled
        handled += record.value is not None

    async def follow() -> None:
        while handled < MEMORY_RECORDS:
            for record in await consumer.poll():
                handle(record)

    following = asyncio.create_task(follow())
    record = NewRecord(key=_KEY, value=QUOTE)
    began = perf_counter()
    for sent in range(MEMORY_RECORDS):
        await producer.publish(IN, record)
        if sent % 256 == 0:
            await asyncio.sleep(0)
    await asyncio.wait_for(following, TIMEOUT_S)
    return MEMORY_RECORDS / (perf_counter() - began)


async def _pair(url: str, measure: Callable[[Client], Awaitable[Any]]) -> tuple[Any, Any]:
    async with our_client(url) as ours:
        first = await measure(ours)
    async with raw_client(url) as raw:
        return first, await measure(raw)


async def main() -> None:
    with running_kafka() as url:
        echoes = [await _pair(url, paced_echo) for _ in range(ROUNDS)]
        flows = [Pair(*await _pair(url, flow_each)) for _ in range(ROUNDS)]
        batches = [Pair(*await _pair(url, flow_batches)) for _ in range(ROUNDS)]
    decodes = [Pair(topic_decode(), bare_decode()) for _ in range(ROUNDS)]
    memory = median([await in_memory() for _ in range(ROUNDS)])
    report(
        "bus",
        [
            compared(
                f"tick to answer, paced {PACE_HZ}/s, p50",
                [Pair(percentile(ours, 50), percentile(raw, 50)) for ours, raw in echoes],
                "us",
                at_most=1.10,
            ),
            compared(
                f"tick to answer, paced {PACE_HZ}/s, p99",
                [Pair(percentile(ours, 99), percentile(raw, 99)) for ours, raw in echoes],
                "us",
                at_most=1.15,
            ),
            compared("consume, then produce: a batch for each poll", batches, "records/s", at_least=0.8),
            compared("consume, then produce: a task for each record, raw without tasks", flows, "records/s"),
            compared("decode a Quote by topic", decodes, "ns", at_most=1.3),
            result(
                "in-memory bus, publish to handler", memory, "records/s", target=">= 300000", passed=memory >= 300_000
            ),
        ],
    )


run_async(main())
