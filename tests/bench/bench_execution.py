"""Execution's speed: decisions in this process, then the agent on a real Kafka, against bare calls and a raw client.

Parts can be named: `bench_execution.py decision paced round-trip throughput bursts memory`; without names all are run.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.lifecycle import local_kafka
from agents.lifecycle.process import run_async
from messages import Refused
from tests.bench.execution import bursts, decision, growth, latencies, round_trip, throughput
from tests.bench.execution.processes import on_cores
from tests.bench.measure import Pair, compared, median, percentile, report, result
from tests.brokers import own_broker, running_kafka

ROUNDS = 5
TICKS = 300_000
GROWTH_TICKS, GROWTH_SWAPS = 1_000_000, 500
Results = list[dict[str, Any]]


class Place(NamedTuple):
    """Where Kafka is, its process if it is ours, and a directory to work in."""

    url: str
    broker: int | None
    home: Path


@contextmanager
def place() -> Iterator[Place]:
    """Yield a broker of our own where this machine can run one, else any."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            local_kafka.check_tools()
        except Refused:
            yield Place(stack.enter_context(running_kafka()), None, home)
            return
        broker = stack.enter_context(own_broker())
        yield Place(broker.url, local_kafka.pid_of(broker), home)


def decisions(_place: Place) -> Results:
    return decision.results()


def paced(where: Place) -> Results:
    """One step of the live agent, hot, paced and under swap (the picture's figures)."""
    measured = run_async(latencies.measure(where.home / "latencies"))
    polled = run_async(latencies.measure(where.home / "polled", busy_poll=True))
    calm, swapping = max(measured.hot), max(measured.swapping)
    return [
        *(result(f"step, mlp, hot, p{percent}", percentile(measured.hot, percent), "us") for percent in (50, 99)),
        *_paced_lines("kept warm", measured.paced),
        result("keeping warm, share of a core", measured.warming, ""),
        *_paced_lines("kept warm, busy_poll", polled.paced),
        result("step, mlp, under swap, p99", percentile(measured.swapping, 99), "us"),
        result("step, mlp, under swap, slowest; baseline: slowest hot", swapping, "us", baseline=calm),
    ]


def _paced_lines(how: str, samples: list[float]) -> Results:
    p50, p99 = percentile(samples, 50), percentile(samples, 99)
    return [
        result(f"step, mlp, paced 100/s, {how}, p50", p50, "us"),
        result(f"step, mlp, paced 100/s, {how}, p99", p99, "us", target="<= 100", passed=p99 <= 100),
    ]


def round_trips(where: Place) -> Results:
    """A tick's way to its order, ours and the raw loop's in turn."""
    rounds = []
    for turn in range(ROUNDS):
        ours = run_async(round_trip.ours(where.url, where.home / f"ours-{turn}"))
        rounds.append((ours, run_async(round_trip.raw(where.url, where.home / f"raw-{turn}"))))
    return [
        compared(
            f"tick to order through Kafka, paced {round_trip.PACE_HZ}/s, p{percent}",
            [Pair(percentile(ours, percent), percentile(raw, percent)) for ours, raw in rounds],
            "us",
            at_most=most,
        )
        for percent, most in ((50, 1.10), (99, 1.15))
    ]


def rates(where: Place) -> Results:
    """Ticks a second out of a full topic, the agent alone on the first core, all else on the others."""
    first, *others = sorted(os.sched_getaffinity(0))
    found: Results = []
    with ExitStack() as stack:
        for pid in (os.getpid(), where.broker):
            if pid is not None and others:
                stack.enter_context(on_cores(pid, others))
        for conflate, least in ((False, 30_000), (True, 100_000)):
            for doubt, rounds in ((throughput.TRADES, ROUNDS), (throughput.HOLDS, 3)):
                runs = [
                    run_async(
                        throughput.measure(
                            where.url,
                            where.home / f"rate-{conflate}-{doubt}-{turn}",
                            ticks=TICKS,
                            conflate=conflate,
                            cores=[first],
                            doubt=doubt,
                        )
                    )
                    for turn in range(rounds)
                ]
                found += _rate_lines(runs, least if doubt == throughput.TRADES else None, conflate=conflate)
    return found


def _rate_lines(runs: list[throughput.Throughput], least: int | None, *, conflate: bool) -> Results:
    outcomes, ticks = runs[0].outcomes, runs[0].ticks
    orders = outcomes.get("order", 0) / ticks
    kind = "decisions conflated" if conflate else "every tick decided"
    name = f"sustained through Kafka, one core, {kind}, {orders:.2%} of ticks order"
    rate = median([run.ticks_per_s for run in runs])
    passed = None if least is None else rate >= least
    return [
        result(name, rate, "ticks/s", target="" if least is None else f">= {least}", passed=passed),
        result(f"{name}, by processor time", median([run.ticks_per_cpu_s for run in runs]), "ticks/CPU-s"),
        result(f"{name}, share decided", 1 - outcomes.get("conflated", 0) / ticks, "fraction"),
    ]


def burst_ages(where: Place) -> Results:
    """The oldest record that was decided."""
    measured = run_async(bursts.measure(where.url, where.home / "bursts"))
    stale = measured.outcomes.get("stale", 0)
    return [
        *(
            result(
                f"{name}, oldest record decided, worst of {len(ages)}",
                max(ages),
                "ms",
                target="<= 20",
                passed=max(ages) <= 20,
            )
            for name, ages in (("593 ticks in 10 ms", measured.in_10_ms), ("2,466 ticks in a second", measured.in_1_s))
        ),
        result("bursts, records too old to be decided", stale, "records", target="0", passed=stale == 0),
    ]


def memory(where: Place) -> Results:
    """What the agent's process gains."""
    measured = run_async(growth.measure(where.url, where.home / "growth", ticks=GROWTH_TICKS, swaps=GROWTH_SWAPS))
    gained = measured.last_mb - measured.first_mb
    name = f"memory gained over {measured.ticks:,} ticks and {measured.swaps} swaps"
    return [result(name, gained, "MB", target="< 20", passed=gained < 20)]


PARTS: dict[str, Callable[[Place], Results]] = {
    "decision": decisions,
    "paced": paced,
    "round-trip": round_trips,
    "throughput": rates,
    "bursts": burst_ages,
    "memory": memory,
}


def main() -> None:
    """Run the parts and print one JSON object."""
    names = sys.argv[1:] or list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        sys.exit(f"there is no part {unknown[0]!r}, only {', '.join(PARTS)}")
    with place() as where:
        report("execution", [line for name in names for line in PARTS[name](where)])


main()
