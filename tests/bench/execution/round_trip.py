"""From a tick that a client produces to the order that the same client sees, through a real Kafka.

Either an Execution agent is between, which decides and sends an order on every tick, or a plain aiokafka loop that
sends the tick back. The client does the same in both: it answers what it sees with a report. Its own clock, its own
process; nothing else is running on the topics.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec import Struct

from messages import Order, Quote, decode, encode
from messages.bus.kafka.timeouts import KafkaTimeouts
from tests.bench.execution.live import live_agent
from tests.bench.execution.networks import Restless
from tests.bench.execution.processes import running
from tests.bench.execution.world import World, new_world
from tests.builders import report

PACE_HZ, TICKS, WARM_UP_TICKS, COLD_TICKS = 333, 1_500, 200, 200
START_NS = 1_767_603_600_000_000_000
_LATE_S, _COLD_S, MOST_COLD_TICKS = 20.0, 5.0, 2_000
Index = Callable[[Any], int | None]


class _Numbered(Struct):
    seq: int


def index_of_order(record: Any) -> int | None:
    """Return which tick an order was decided on."""
    message = decode("orders", record.value)
    return message.source.offset if isinstance(message, Order) else None


def index_of_echo(record: Any) -> int | None:
    """Return which tick was sent back."""
    return msgspec.json.decode(record.value, type=_Numbered).seq


def tick(world: World, index: int) -> bytes:
    """Return a quote whose larger queue is on the other side than the last one's."""
    bid_size, ask_size = (9.0, 1.0) if index % 2 else (1.0, 9.0)
    return encode(
        Quote(
            instrument=world.instruments[0],
            ts_recv=START_NS + index * 1_000_000,
            bid=100.0,
            bid_size=bid_size,
            ask=100.01,
            ask_size=ask_size,
            seq=index,
        )
    )


async def ours(url: str, home: Path) -> list[float]:
    """Return the microseconds of each tick's round trip through an Execution agent."""
    world = await new_world(url, home, conflate=False)
    bus = world.connect()
    try:
        bundle = world.new_bundle(sequence=1, module=Restless())
        async with live_agent(world, bus, bundle, fills=False):
            times = await _paced(world, index_of_order)
    finally:
        await bus.stop()
    return times


async def raw(url: str, home: Path) -> list[float]:
    """Return the same of the plain loop."""
    world = await new_world(url, home)
    command = [sys.executable, str(Path(__file__).with_name("raw_echo.py"))]
    with running([*command, world.url.removeprefix("kafka://"), world.prefix], log=home / "echo.log"):
        return await _paced(world, index_of_echo)


class _Trips:
    """When each tick was sent, and how long its answer took (microseconds)."""

    def __init__(self) -> None:
        self.sent_ns: list[int] = []
        self.took_us: dict[int, float] = {}
        self._awaited: tuple[int, asyncio.Event] | None = None

    def seen(self, index: int, now_ns: int) -> None:
        self.took_us.setdefault(index, (now_ns - self.sent_ns[index]) / 1e3)
        if self._awaited is not None and index == self._awaited[0]:
            self._awaited[1].set()

    async def until_seen(self, index: int, *, within_s: float = _LATE_S) -> None:
        self._awaited = (index, asyncio.Event())
        if index in self.took_us:
            return
        try:
            await asyncio.wait_for(self._awaited[1].wait(), within_s)
        except TimeoutError:
            seen = f"{len(self.took_us)} of {len(self.sent_ns)} ticks were answered"
            raise AssertionError(f"{seen}, tick {index} not within {within_s:g} s") from None


async def _paced(world: World, index_of: Index) -> list[float]:
    async with _clients(world) as (producer, consumer):
        trips = _Trips()
        listening = asyncio.create_task(_listen(world, producer, consumer, index_of, trips))
        try:
            while not trips.took_us:  # until whoever is between is up, has ticks enough, and has heard of Risk
                for _ in range(COLD_TICKS):
                    await _send(world, producer, trips)
                with suppress(AssertionError):
                    await trips.until_seen(len(trips.sent_ns) - 1, within_s=_COLD_S)
                if len(trips.sent_ns) > MOST_COLD_TICKS:
                    raise AssertionError(f"none of {len(trips.sent_ns)} ticks was answered")
            first = len(trips.sent_ns) + WARM_UP_TICKS
            began = perf_counter()
            for turn in range(WARM_UP_TICKS + TICKS):
                await asyncio.sleep(max(0.0, began + turn / PACE_HZ - perf_counter()))
                await _send(world, producer, trips)
            await trips.until_seen(len(trips.sent_ns) - 1)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    return [trips.took_us[index] for index in range(first, len(trips.sent_ns))]


async def _send(world: World, producer: Any, trips: _Trips) -> None:
    value = tick(world, len(trips.sent_ns))
    trips.sent_ns.append(perf_counter_ns())
    await producer.send(f"{world.prefix}market", value, _key(world), partition=0)


async def _listen(world: World, producer: Any, consumer: Any, index_of: Index, trips: _Trips) -> None:
    while True:
        for batch in (await consumer.getmany(timeout_ms=1000)).values():
            now_ns = perf_counter_ns()
            for record in batch:
                if (index := index_of(record)) is not None:
                    trips.seen(index, now_ns)
                    await producer.send(f"{world.prefix}reports", _answer(record), _key(world), partition=0)


def _answer(record: Any) -> bytes:
    message = decode("orders", record.value) if b'"order_id"' in record.value else None
    return encode(report(message, at=record.offset)) if isinstance(message, Order) else record.value * 3


def _key(world: World) -> bytes:
    return world.instruments[0].encode()


@asynccontextmanager
async def _clients(world: World) -> AsyncIterator[tuple[Any, Any]]:
    servers, timeouts = world.url.removeprefix("kafka://"), KafkaTimeouts()
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, enable_auto_commit=False, fetch_max_wait_ms=timeouts.fetch_wait_ms
    )
    await asyncio.gather(producer.start(), consumer.start())
    try:
        orders = TopicPartition(world.prefix + "orders", 0)
        consumer.assign([orders])
        consumer.seek(orders, 0)
        yield producer, consumer
    finally:
        await asyncio.gather(producer.stop(), consumer.stop())
