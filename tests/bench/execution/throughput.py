"""How many ticks a second one Execution process decides on one core, out of a full topic on a real Kafka.

The broker, the venue and the measuring run on the other cores. Rates are by the steps' own clock, from the first step
with a market record to the last.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from msgspec import Struct

from messages import Bus, DecisionBatch, Partition, decode
from tests.bench.execution.networks import Network
from tests.bench.execution.processes import Process, Sample, execution_agent, running
from tests.bench.execution.venue import fill_orders
from tests.bench.execution.world import keep_risk_alive, later, new_world, preload, quotes, read_topic, roll_out

INSTRUMENTS = 4
DISTINCT = 20_000
DOUBT = 0.3  # of the policy: one tick in a hundred leads to an order
_LOOK_S = 0.05
_LIMIT_S = 240.0


class Throughput(Struct, frozen=True, kw_only=True):
    """What one run gave; `ticks_per_cpu_s`: by the agent's processor time, whatever else ran on its core."""

    ticks: int
    ticks_per_s: float
    ticks_per_cpu_s: float
    outcomes: dict[str, int]


async def measure(
    url: str, home: Path, *, ticks: int, conflate: bool, cores: Sequence[int], command: Sequence[str] = ()
) -> Throughput:
    """Fill `market`, let an agent pinned to `cores` decide all of it, and read `decisions` back."""
    world = await new_world(url, home, instruments=INSTRUMENTS, conflate=conflate)
    bus = world.connect()
    try:
        count = await preload(world, later(quotes(world, DISTINCT), ticks // DISTINCT))
        producer = await bus.producer()
        await roll_out(world, producer, world.new_bundle(sequence=1, module=Network(doubt=DOUBT)), {})
        beside = [asyncio.create_task(keep_risk_alive(producer)), asyncio.create_task(fill_orders(bus))]
        await asyncio.sleep(0)
        try:
            with running([*command, *execution_agent(world.settings_file)], log=home / "agent.log", cores=cores) as it:
                samples = await _until_decided(bus, it, count)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        return _judged(await _steps(bus), samples, count)
    finally:
        await bus.stop()


async def _until_decided(bus: Bus, process: Process, count: int) -> list[Sample]:
    """Look at the process now and then until the last tick is on `decisions`."""
    consumer, samples, decided = await bus.consumer(), [process.sample()], 0
    try:
        await consumer.assign({Partition("decisions", 0): 0})
        async with asyncio.timeout(_LIMIT_S):
            while decided < count:
                for record in await consumer.poll(timeout_s=_LOOK_S):
                    decided = max(decided, _market_to(record.value or b""))
                samples.append(process.sample())
    finally:
        await consumer.stop()
    return samples


def _market_to(batch: bytes) -> int:
    """Return where the last step of a batch ends, without decoding it: the agent's rate is measured meanwhile."""
    name = b'"market_to":'
    at = batch.rfind(name)
    return -1 if at < 0 else int(batch[at + len(name) :].partition(b",")[0].rstrip(b"}"))


async def _steps(bus: Bus) -> list[Any]:
    batches = [decode("decisions", record.value, record.headers) for record in await read_topic(bus, "decisions")]
    return [logged for batch in batches if isinstance(batch, DecisionBatch) for logged in batch.steps]


def _judged(steps: list[Any], samples: list[Sample], count: int) -> Throughput:
    full = [logged for logged in steps if logged.decisions]
    outcomes = Counter(str(decision.outcome) for logged in full for decision in logged.decisions)
    assert sum(outcomes.values()) == count, f"{sum(outcomes.values())} outcomes for {count} ticks"
    first, last = full[0].step, full[-1].step
    wall_s = (last.clock_ns - first.clock_ns) / 1e9
    cpu_s = _cpu_at(samples, last.clock_ns) - _cpu_at(samples, first.clock_ns)
    return Throughput(
        ticks=count, ticks_per_s=count / wall_s, ticks_per_cpu_s=count / cpu_s, outcomes=dict(outcomes.most_common())
    )


def _cpu_at(samples: list[Sample], at_ns: int) -> float:
    """Return the processor time used up to a moment, between two looks by the share of the time."""
    for before, after in pairwise(samples):
        if before.at_ns <= at_ns <= after.at_ns:
            share = (at_ns - before.at_ns) / max(1, after.at_ns - before.at_ns)
            return before.cpu_s + share * (after.cpu_s - before.cpu_s)
    return samples[-1].cpu_s
