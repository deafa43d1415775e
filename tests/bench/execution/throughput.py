"""How many ticks a second one Execution process decides on one core, out of a full topic on a real Kafka.

The broker, the venue and the measuring run on the other cores. Rates are by the steps' own clock, from the first step
with a market record to the last.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from messages import LoggedStep
from tests.bench.execution.decided import outcomes_of, steps_of, until_decided
from tests.bench.execution.live import surroundings
from tests.bench.execution.networks import Network
from tests.bench.execution.processes import Sample, execution_agent, running
from tests.bench.execution.world import later, new_world, preload, quotes, roll_out

INSTRUMENTS = 4
DISTINCT = 20_000
# Of the policy: how much its scores lean towards holding. One tick in two hundred leads to an order, or none does.
TRADES, HOLDS = 0.15, 0.3


class Throughput(Struct, frozen=True, kw_only=True):
    """What one run gave; `ticks_per_cpu_s`: by the agent's processor time, whatever else ran on its core."""

    ticks: int
    ticks_per_s: float
    ticks_per_cpu_s: float
    outcomes: dict[str, int]


async def measure(
    url: str,
    home: Path,
    *,
    ticks: int,
    conflate: bool,
    cores: Sequence[int] | None,
    doubt: float = TRADES,
    command: Sequence[str] = (),
) -> Throughput:
    """Fill `market`, let an agent pinned to `cores` decide all of it, and read `decisions` back."""
    world = await new_world(url, home, instruments=INSTRUMENTS, conflate=conflate)
    bus = world.connect()
    try:
        count = await preload(world, later(quotes(world, DISTINCT), range(ticks // DISTINCT)))
        bundle = world.new_bundle(sequence=1, module=Network(doubt=doubt))
        await roll_out(world, await bus.producer(), bundle, {})
        agent = [*command, *execution_agent(world.settings_file)]
        async with surroundings(bus):
            with running(agent, log=home / "agent.log", cores=cores) as process:
                samples = [process.sample()]
                await until_decided(bus, count, lambda: samples.append(process.sample()))
        return _judged(await steps_of(bus), samples, count)
    finally:
        await bus.stop()


def _judged(steps: list[LoggedStep], samples: list[Sample], count: int) -> Throughput:
    full = [logged for logged in steps if logged.decisions]
    outcomes = outcomes_of(full)
    assert sum(outcomes.values()) == count, f"{sum(outcomes.values())} outcomes for {count} ticks"
    first, last = full[0].step, full[-1].step
    wall_s = (last.clock_ns - first.clock_ns) / 1e9
    cpu_s = _cpu_at(samples, last.clock_ns) - _cpu_at(samples, first.clock_ns)
    return Throughput(ticks=count, ticks_per_s=count / wall_s, ticks_per_cpu_s=count / cpu_s, outcomes=outcomes)


def _cpu_at(samples: list[Sample], at_ns: int) -> float:
    """Return the processor time used up to a moment, between two looks by the share of the time."""
    for before, after in pairwise(samples):
        if before.at_ns <= at_ns <= after.at_ns:
            share = (at_ns - before.at_ns) / max(1, after.at_ns - before.at_ns)
            return before.cpu_s + share * (after.cpu_s - before.cpu_s)
    return samples[-1].cpu_s
