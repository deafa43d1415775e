"""Timing of calls one by one, and of passes over many, each beside a bare form of the same work."""

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from time import perf_counter_ns
from typing import Any, NamedTuple

from tests.bench.measure import Pair, compared, median, percentile

ROUNDS = 7


class Size(NamedTuple):
    """How often to measure: rounds that alternate with the baseline, calls in each, records of a pass."""

    rounds: int = ROUNDS
    calls: int = 20_000
    records: int = 60_000


SMALL = Size(rounds=2, calls=200, records=300)


def microseconds(call: Callable[..., object], arguments: Sequence[tuple[Any, ...]], count: int) -> list[float]:
    """Call it `count` times with the arguments in turn, after a warm-up; return how long each took."""
    for each in islice(cycle(arguments), max(100, count // 10)):
        call(*each)
    taken = []
    for each in islice(cycle(arguments), count):
        begin = perf_counter_ns()
        call(*each)
        taken.append((perf_counter_ns() - begin) / 1e3)
    return taken


def calls_beside(
    name: str,
    call: Callable[..., object],
    bare: Callable[..., object],
    arguments: Sequence[tuple[Any, ...]],
    size: Size,
    *,
    most_us: dict[int, float | None],
) -> list[dict[str, Any]]:
    """One line for each percentile in `most_us` (its value: the target, or None), the bare call as its baseline."""
    rounds = [
        (microseconds(call, arguments, size.calls), microseconds(bare, arguments, size.calls))
        for _ in range(size.rounds)
    ]
    lines = []
    for percent, most in most_us.items():
        pairs = [Pair(percentile(ours, percent), percentile(raw, percent)) for ours, raw in rounds]
        line = compared(f"{name}, p{percent}", pairs, "us")
        if most is not None:
            line |= {"target": f"<= {most:g}", "pass": median([pair.ours for pair in pairs]) <= most}
        lines.append(line)
    return lines


def rate_beside(
    name: str,
    unit: str,
    work: Callable[[], Callable[[], int]],
    bare: Callable[[], Callable[[], int]],
    size: Size,
    *,
    least: float | None,
) -> dict[str, Any]:
    """Items a second. `work` and `bare` prepare a pass; what they return runs it and says how many items it did."""
    pairs = [Pair(_rate(work()), _rate(bare())) for _ in range(size.rounds)]
    line = compared(name, pairs, unit)
    if least is not None:
        line |= {"target": f">= {least:g}", "pass": median([pair.ours for pair in pairs]) >= least}
    return line


def _rate(run: Callable[[], int]) -> float:
    begin = perf_counter_ns()
    count = run()
    return count / ((perf_counter_ns() - begin) / 1e9)
