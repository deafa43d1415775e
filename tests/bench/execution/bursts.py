"""How old a record is when it is decided, while bursts of a real market's shape come in through Kafka.

Age: the step's clock less the record's timestamp, which the broker gave it (LogAppendTime, cut to milliseconds: so up
to one more than it is). Both clocks are this machine's. The times are those of the busiest second and the busiest 10 ms
of an hour of BTCUSDT (Binance, 8 August 2024), scaled to the counts of a perpetual's worst.
"""

import asyncio
from pathlib import Path
from time import perf_counter
from typing import Any

from aiokafka import AIOKafkaProducer
from msgspec import Struct

from messages import LoggedStep, Record, encode
from messages.bus.protocol import MAX_BATCH_BYTES
from messages.market import MarketMessage
from tests.bench.execution.decided import outcomes_of, read_topic, steps_of, until_decided
from tests.bench.execution.live import live_agent
from tests.bench.execution.networks import Network
from tests.bench.execution.throughput import TRADES
from tests.bench.execution.world import new_world, quotes

# Messages in each millisecond of 10, and in each 10 ms of a second.
BURST_10_MS = (51, 92, 84, 8, 92, 93, 84, 0, 89, 0)
# fmt: off
BURST_1_S = (
    12, 31, 26, 17, 20, 14, 17, 17, 14, 14, 10, 5, 0, 17, 2, 2, 44, 12, 2, 15, 38, 26, 55, 320, 3, 306, 24, 41, 7, 5,
    63, 43, 19, 3, 3, 2, 8, 9, 8, 12, 19, 5, 41, 2, 0, 2, 2, 24, 9, 7, 2, 414, 2, 7, 0, 9, 15, 2, 7, 3, 145, 9, 14, 10,
    12, 22, 10, 10, 8, 22, 14, 3, 20, 15, 12, 19, 65, 12, 22, 9, 12, 0, 38, 46, 10, 9, 0, 3, 5, 0, 0, 3, 12, 2, 3, 2, 3,
    7, 0, 0,
)
# fmt: on
QUIET = (3,) * 100  # in each 10 ms: the mean load
ROUNDS = 7

_NOT_DECIDED = frozenset({"conflated", "stale", "refused"})


class Bursts(Struct, frozen=True, kw_only=True):
    """The oldest decided record in each of the rounds, in ms, and what became of all records."""

    in_10_ms: list[float]
    in_1_s: list[float]
    outcomes: dict[str, int]


async def measure(url: str, home: Path) -> Bursts:
    """Send quiet seconds and bursts in turn to a live agent with default settings, and read ages off `decisions`."""
    world = await new_world(url, home, max_decision_age_ms=1_000)
    bus = world.connect()
    try:
        async with live_agent(world, bus, world.new_bundle(sequence=1, module=Network(doubt=TRADES))):
            bursts = await _send_all(world.url, world.prefix, quotes(world, 60_000))
            await until_decided(bus, bursts[-1][1])
        steps = await steps_of(bus)
        ages = _ages_ms(steps, await read_topic(bus, "market"))
    finally:
        await bus.stop()
    worst = [max(ages[offset] for offset in range(*burst) if offset in ages) for burst in bursts]
    return Bursts(in_10_ms=worst[0::2], in_1_s=worst[1::2], outcomes=outcomes_of(steps))


async def _send_all(url: str, prefix: str, messages: list[MarketMessage]) -> list[tuple[int, int]]:
    """Send the load; return the offsets [first, end) of the bursts, the short and the long kind in turn."""
    producer = AIOKafkaProducer(
        bootstrap_servers=url.removeprefix("kafka://"), linger_ms=0, max_batch_size=MAX_BATCH_BYTES
    )
    await producer.start()
    bursts, sent = [], 0
    try:
        for _ in range(ROUNDS):
            for shape, slot_s in ((BURST_10_MS, 0.001), (BURST_1_S, 0.01)):
                sent = await _send(producer, prefix, messages, sent, QUIET, 0.01)
                bursts.append((sent, sent + sum(shape)))
                sent = await _send(producer, prefix, messages, sent, shape, slot_s)
        await _send(producer, prefix, messages, sent, QUIET, 0.01)
    finally:
        await producer.stop()
    return bursts


async def _send(
    producer: Any, prefix: str, messages: list[MarketMessage], sent: int, shape: tuple[int, ...], slot_s: float
) -> int:
    began = perf_counter()
    for slot, count in enumerate(shape):
        batch = producer.create_batch()
        for message in messages[sent : sent + count]:
            batch.append(timestamp=None, key=message.instrument.encode(), value=encode(message))
        await asyncio.sleep(max(0.0, began + slot * slot_s - perf_counter()))
        if count:
            await producer.send_batch(batch, prefix + "market", partition=0)
        sent += count
    return sent


def _ages_ms(steps: list[LoggedStep], market: list[Record]) -> dict[int, float]:
    """Return the age of each record that was decided, by its offset."""
    ages = {}
    for logged in steps:
        for offset, decision in enumerate(logged.decisions, start=logged.step.market_from):
            if decision.outcome not in _NOT_DECIDED:
                ages[offset] = logged.step.clock_ns / 1e6 - market[offset].timestamp_ms
    return ages
