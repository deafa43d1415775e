"""The pictures of a report. Long series are thinned for drawing; no number is taken from what is drawn."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from agents.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    dates,
    label_times,
    legend_above,
    new_axes,
    say_empty,
    style,
    thousands,
    to_png,
)
from agents.report.figures import Floats, InstrumentSeries, Integers, Series

POINTS = 2_000
MAX_MARKS = 250  # fills of one side in one panel
_NEAR = 0.25  # part of a limit
_COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)


class Picture(NamedTuple):
    """A picture and what it shows."""

    title: str
    caption: str
    png: bytes


_DRAWN: Sequence[tuple[str, str, str]] = (
    (
        "prices",
        "Price, fills and the swap",
        "Mid price of each instrument with the fills. The dashed line is where the policy was swapped.",
    ),
    (
        "equity",
        "Equity and drawdown",
        "Cash and positions marked to mid, after fees; below it the distance from its highest value.",
    ),
    (
        "exposure",
        "Exposure",
        "Positions at their marks, added up without signs (gross) and with them (net). Open orders are not in it.",
    ),
    ("positions", "Position", "Signed position of each instrument after each fill."),
    ("latency", "Decision latency", "Wall clock of a step, divided by the records that it decided."),
    ("outcomes", "Outcomes", "What became of each tick, and by which rule orders were denied."),
    ("denials", "Denied orders over time", "Each mark is an order that was wanted and not let pass."),
)


def draw_pictures(series: Series) -> list[Picture]:
    """Return the pictures of a report, also of a run that did nothing. Raises PlottingMissing without matplotlib."""
    draw: Mapping[str, Callable[[Series], Any]] = {
        "prices": draw_prices,
        "equity": draw_equity,
        "exposure": draw_exposure,
        "positions": draw_positions,
        "latency": draw_latency,
        "outcomes": draw_outcomes,
        "denials": draw_denials,
    }
    # A recording knows no wall clock.
    drawn = [each for each in _DRAWN if each[0] != "latency" or len(series.decision_us)]
    with style():
        return [Picture(title, caption, to_png(draw[name](series))) for name, title, caption in drawn]


def draw_prices(series: Series) -> Any:
    """Return a figure with one panel for each instrument: mid, fills, swaps."""
    figure, axes = new_axes(max(1, len(series.instruments)), height_in=2.8)
    for axis, one in zip(axes, series.instruments, strict=False):
        keep = thin(one.mids)
        axis.plot(
            dates(one.times_ns[keep]), one.mids[keep], color=BLUE, linewidth=0.8, drawstyle="steps-post", label="mid"
        )
        _mark_fills(axis, one, is_buy=True)
        _mark_fills(axis, one, is_buy=False)
        _mark_swaps(axis, series, one.instrument)
        axis.set_title(one.instrument)
        axis.set_ylabel(f"price ({one.currency})")
        axis.yaxis.set_major_formatter(thousands())
        legend_above(axis)
    _finish(axes, series)
    return figure


def draw_equity(series: Series) -> Any:
    """Return a figure with the equity above, the drawdown below."""
    figure, axes = new_axes(2, height_in=2.3, ratios=[2, 1])
    keep = thin(series.equity)
    times = dates(series.times_ns[keep])
    axes[0].plot(times, series.equity[keep], color=BLUE, linewidth=1.1, drawstyle="steps-post", label="equity")
    axes[0].set_ylabel(f"equity ({series.currency})")
    axes[0].yaxis.set_major_formatter(thousands())
    axes[1].fill_between(times, -100 * series.drawdown[keep], 0, step="post", color=RED, alpha=0.4, linewidth=0)
    axes[1].set_ylabel("drawdown (%)")
    if series.limits is not None:
        _draw_limit(axes[1], -100 * series.limits.max_drawdown, -100 * series.drawdown, "%")
    for axis in axes:
        _mark_swaps(axis, series, None)
        legend_above(axis)
    _finish(axes, series)
    return figure


def draw_exposure(series: Series) -> Any:
    """Return a figure with the gross exposure above, the net exposure below, each with its limit where it is near."""
    figure, axes = new_axes(2, height_in=1.9)
    for axis, name, values in ((axes[0], "gross", series.gross), (axes[1], "net", series.net)):
        keep = thin(values)
        times = dates(series.times_ns[keep])
        axis.fill_between(times, values[keep], 0, step="post", color=BLUE, alpha=0.25, linewidth=0)
        axis.step(times, values[keep], where="post", color=BLUE, linewidth=0.6)
        axis.axhline(0, color=GREY, linewidth=0.6)
        if series.limits is not None:
            _draw_limit(axis, getattr(series.limits, f"max_{name}_exposure"), values, series.currency)
        _mark_swaps(axis, series, None)
        axis.set_ylabel(f"{name} ({series.currency})")
        axis.yaxis.set_major_formatter(thousands())
        legend_above(axis)
    _finish(axes, series)
    return figure


def _draw_limit(axis: Any, limit: float, values: Floats, unit: str) -> None:
    """Draw the limit on the sides where the figure came near it, and name it: further off it would flatten the rest."""
    high, low = max(values, default=0.0) / abs(limit), min(values, default=0.0) / abs(limit)
    for side, used in ((1, high), (-1, -low)):
        if used >= _NEAR:
            axis.axhline(side * abs(limit), color=RED, linewidth=1.0, linestyle=":")
    label = f"limit {abs(limit):,.10g} {unit}, {max(high, -low):.1%} used"
    axis.plot([], [], color=RED, linewidth=1.0, linestyle=":", label=label)


def draw_denials(series: Series) -> Any:
    """Return a figure with one row for each code, a mark for each denial in the colour of its instrument."""
    codes = list(series.denials)
    figure, (axis,) = new_axes(1, height_in=0.8 + 0.35 * max(2, len(codes)))
    if not codes:
        say_empty(axis)
        return figure
    for number, name in enumerate(sorted({one.instrument for one in series.denied if one.instrument})):
        shown = [one for one in series.denied if one.instrument == name]
        rows = [codes.index(one.denial.code.value) for one in shown]
        times = dates(np.array([one.time_ns for one in shown], dtype=np.int64))
        label = f"{name} ({len(shown):,})"
        axis.scatter(times, rows, marker="|", s=90, color=_COLOURS[number % len(_COLOURS)], linewidths=0.8, label=label)
    axis.set_yticks(range(len(codes)), codes)
    axis.set_ylim(len(codes) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    _mark_swaps(axis, series, None)
    legend_above(axis)
    _finish([axis], series)
    return figure


def draw_positions(series: Series) -> Any:
    """Return a figure with one panel for each instrument: the position as steps, flat at first."""
    figure, axes = new_axes(max(1, len(series.instruments)), height_in=1.7)
    for axis, one in zip(axes, series.instruments, strict=False):
        begin, end = one.times_ns[:1], one.times_ns[-1:]
        last = one.positions[-1:] if len(one.positions) else np.zeros(1)
        times = dates(np.concatenate([begin, one.fill_times_ns, end]))
        held = np.concatenate([np.zeros(len(begin)), one.positions, last[: len(end)]])
        axis.fill_between(times, held, 0, step="post", color=BLUE, alpha=0.25, linewidth=0)
        axis.step(times, held, where="post", color=BLUE, linewidth=0.6)
        axis.axhline(0, color=GREY, linewidth=0.6)
        _mark_swaps(axis, series, one.instrument)
        axis.set_title(one.instrument)
        axis.set_ylabel("units")
        legend_above(axis)
    _finish(axes, series)
    return figure


def draw_latency(series: Series) -> Any:
    """Return a histogram of decision latencies on a logarithmic axis, with p50, p99 and the largest marked."""
    figure, (axis,) = new_axes(1, height_in=3.2)
    axis.set_xlabel("decision latency (µs, logarithmic)")
    axis.set_ylabel("steps (logarithmic)")
    values = series.decision_us[series.decision_us > 0]
    if not len(values):
        say_empty(axis)
        return figure
    axis.hist(values, bins=np.geomspace(values.min() * 0.95, values.max() * 1.05, 90).tolist(), color=BLUE, alpha=0.8)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.7)
    marks = zip(("p50", "p99", "max"), np.percentile(values, [50, 99, 100]), (GREEN, ORANGE, RED), strict=True)
    for name, value, colour in marks:
        axis.axvline(value, color=colour, linewidth=1.4, label=f"{name} {value:,.1f} µs")
    axis.xaxis.set_major_formatter(thousands())
    axis.yaxis.set_major_formatter(thousands())
    legend_above(axis)
    return figure


def draw_outcomes(series: Series) -> Any:
    """Return horizontal bars: outcomes of ticks, and denials by code when there are any."""
    tables = [("outcomes of ticks", "ticks", series.outcomes, BLUE)]
    if series.denials:
        tables.append(("denied by the gate", "orders denied", series.denials, RED))
    heights = [1.2 + 0.3 * max(1, len(counts)) for _, _, counts, _ in tables]
    figure, axes = new_axes(len(tables), height_in=sum(heights) / len(tables), ratios=heights, is_time_shared=False)
    for axis, (title, unit, counts, colour) in zip(axes, tables, strict=True):
        axis.set_title(title)
        _draw_bars(axis, counts, unit, colour)
    return figure


def _draw_bars(axis: Any, counts: Mapping[str, int], unit: str, colour: str) -> None:
    if not counts:
        say_empty(axis)
        return
    ordered = sorted(counts.items(), key=lambda item: item[1])
    bars = axis.barh(
        [name for name, _ in ordered], [count for _, count in ordered], color=colour, alpha=0.8, height=0.6
    )
    axis.bar_label(bars, labels=[f"{count:,}" for _, count in ordered], padding=4, fontsize=9)
    axis.set_xscale("symlog", linthresh=10)
    axis.set_xlim(0, max(30, max(counts.values()) * 3))
    axis.set_ylim(-0.6, len(ordered) - 0.4)
    axis.xaxis.set_major_formatter(thousands())
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(f"{unit} (logarithmic above 10)")


def thin(values: Floats, points: int = POINTS) -> Integers:
    """Return the indices to draw: the lowest and the highest of each stretch and both ends, so that no peak is lost."""
    if len(values) <= points:
        return np.arange(len(values), dtype=np.int64)
    edges = np.linspace(0, len(values), points // 2, dtype=np.int64)
    kept = {0, len(values) - 1}
    for begin, end in pairwise(edges.tolist()):
        stretch = values[begin:end]
        kept |= {int(begin + stretch.argmin()), int(begin + stretch.argmax())}
    return np.array(sorted(kept), dtype=np.int64)


def _mark_fills(axis: Any, one: InstrumentSeries, *, is_buy: bool) -> None:
    marker, colour, name = ("^", GREEN, "bought") if is_buy else ("v", RED, "sold")
    found = np.flatnonzero(one.fill_quantities > 0 if is_buy else one.fill_quantities < 0)
    if not len(found):
        return
    every = -(-len(found) // MAX_MARKS)
    shown = found[::every]
    label = f"{name} ({len(found):,} fills)" if every == 1 else f"{name} ({len(found):,} fills, 1 of {every} shown)"
    size = 30 if len(shown) <= MAX_MARKS // 4 else 17
    times, prices = dates(one.fill_times_ns[shown]), one.fill_prices[shown]
    axis.scatter(times, prices, marker=marker, s=size, color=colour, linewidths=0, alpha=0.85, label=label, zorder=3)


def _mark_swaps(axis: Any, series: Series, instrument: str | None) -> None:
    marks = [mark for mark in series.swaps if instrument is None or instrument in mark.instruments]
    for mark in marks:
        time = dates(np.array([mark.time_ns], dtype=np.int64))[0]
        label = f"swap to {mark.label}" if mark is marks[0] else None
        axis.axvline(time, color=ORANGE, linewidth=1.4, linestyle="--", label=label)


def _finish(axes: Sequence[Any], series: Series) -> None:
    times = [one.times_ns for one in series.instruments if len(one.times_ns)]
    if not times:
        for axis in axes:
            say_empty(axis)
        label_times(axes, None)
        return
    first, last = min(int(t[0]) for t in times), max(int(t[-1]) for t in times)
    begin, end = dates(np.array([first, last + 1], dtype=np.int64))
    axes[-1].set_xlim(begin, end)
    label_times(axes, first)
