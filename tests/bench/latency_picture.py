"""Draw docs/results/latency.png: how long one step takes, hot, paced and under swap; print the figures as JSON.

python tests/bench/latency_picture.py [FILE]
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from agents.lifecycle.process import run_async
from agents.report.canvas import BLUE, GREEN, ORANGE, new_axes, style, to_png
from tests.bench.execution import latencies
from tests.bench.execution.latencies import PACE_HZ, SWAPPING_HZ, SWAPS, Latencies
from tests.bench.measure import percentile, report, result

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "results" / "latency.png"
_FROM_US, _TO_US, _BINS = 20.0, 20_000.0, 120
_PERCENTS = (50, 99, 99.9)


def panels(measured: Latencies) -> list[tuple[str, list[float], str]]:
    """Return title, microseconds and colour of each panel."""
    return [
        ("hot: one tick after the other", measured.hot, BLUE),
        (f"paced: {PACE_HZ} ticks a second, kept warm", measured.paced, GREEN),
        (f"under swap: {SWAPPING_HZ} ticks a second, {SWAPS} bundles staged and activated", measured.swapping, ORANGE),
    ]


def draw(measured: Latencies) -> bytes:
    """Return the picture as PNG."""
    edges = np.geomspace(_FROM_US, _TO_US, _BINS + 1)
    with style():
        figure, axes = new_axes(3, height_in=1.9)
        for axis, (title, samples, colour) in zip(axes, panels(measured), strict=True):
            axis.hist(np.clip(samples, _FROM_US, _TO_US), bins=edges, color=colour)
            axis.set(xscale="log", yscale="log", ylabel="steps", title=f"{title} ({_described(samples)})")
            axis.axvline(percentile(samples, 99), color=colour, linestyle=":")
        axes[-1].set_xlabel("microseconds from the record to its decision, and its order if any; dotted: p99")
        return to_png(figure)


def _described(samples: Sequence[float]) -> str:
    figures = ", ".join(f"p{percent:g} {percentile(samples, percent):,.0f}" for percent in _PERCENTS)
    return f"{len(samples):,} steps: {figures}, most {max(samples):,.0f} us"


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        measured = run_async(latencies.measure(Path(home) / "world"))
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    target.write_bytes(draw(measured))
    report(
        "latency",
        [
            result(f"step {title}, p{percent:g}", percentile(samples, percent), "us")
            for title, samples, _ in panels(measured)
            for percent in (*_PERCENTS, 100)
        ],
    )


if __name__ == "__main__":
    main()
