"""What every benchmark prints: one JSON object with the machine, the versions and the results."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

LIBRARIES = ("torch", "numpy", "numba", "msgspec", "aiokafka", "uvloop")


def result(
    name: str, value: float, unit: str, *, baseline: float | None = None, target: str = "", passed: bool | None = None
) -> dict[str, Any]:
    """One figure; `ratio` is value / baseline of the same run."""
    ratio = None if baseline is None else round(value / baseline, 3)
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": None if baseline is None else round(baseline, 3),
        "ratio": ratio,
        "target": target,
        "pass": passed,
    }


class Pair(NamedTuple):
    """A figure of ours and the baseline's, of the same round."""

    ours: float
    raw: float


def compared(
    name: str, pairs: Sequence[Pair], unit: str, *, at_most: float | None = None, at_least: float | None = None
) -> dict[str, Any]:
    """One figure of several rounds; `ratio` is the median of the rounds': both sides of one ran next to each other."""
    ratio = statistics.median(pair.ours / pair.raw for pair in pairs)
    target, passed = "", None
    if at_most is not None:
        target, passed = f"<= {at_most}x", ratio <= at_most
    elif at_least is not None:
        target, passed = f">= {at_least}x", ratio >= at_least
    value, baseline = median([pair.ours for pair in pairs]), median([pair.raw for pair in pairs])
    figure = result(name, value, unit, baseline=baseline, target=target, passed=passed)
    return {**figure, "ratio": round(ratio, 3)}


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that is not below `percent` of them."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def about(name: str) -> dict[str, Any]:
    """What measured: name, machine, versions."""
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "system": platform.system()}
    versions = {"python": platform.python_version(), **{library: version(library) for library in LIBRARIES}}
    return {"benchmark": name, "machine": machine, "versions": versions}


def write_results(path: Path, name: str, results: list[dict[str, Any]], now_ns: int) -> None:
    """Write the object with the date."""
    date = datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**about(name), "date": date, "results": results}, indent=1) + "\n")


def report(name: str, results: list[dict[str, Any]]) -> None:
    """Print the object."""
    print(json.dumps({**about(name), "results": results}, indent=1))  # noqa: T201
