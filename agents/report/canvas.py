"""What all pictures share: style, axes and PNG bytes. matplotlib's own objects only, no global state, no display."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from messages import Fatal

BLUE, GREEN, RED, GREY, ORANGE = "#2f5d8a", "#14875a", "#c8443c", "#7d838c", "#d98324"
_TIME_FORMATS = ["%Y", "%b", "%d", "%H:%M", "%H:%M", "%H:%M:%S.%f"]
_WIDTH_IN, _DPI = 11.0, 130
_STYLE = {
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.formatter.useoffset": False,
    "grid.color": "#e6e8eb",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "timezone": "UTC",
}


class PlottingMissing(Fatal):
    """Raised when matplotlib is not installed."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"pictures need matplotlib ({detail}); install tickpilot with the extra `report`")
        self.detail = detail


def style() -> Any:
    """Return a context in which figures have the report's style. Raises PlottingMissing."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise PlottingMissing(str(error)) from error
    return mpl.rc_context(_STYLE)


def new_axes(
    count: int, *, height_in: float, ratios: Sequence[float] | None = None, is_time_shared: bool = True
) -> tuple[Any, list[Any]]:
    """Return a figure and `count` axes below each other, each `height_in` high on average."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, height_in * count + 0.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, 1, squeeze=False, sharex=is_time_shared, height_ratios=ratios)
    return figure, list(axes[:, 0])


def dates(times_ns: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Return nanoseconds since the epoch as what matplotlib draws on a time axis."""
    return times_ns.astype("datetime64[ns]")


def label_times(axes: Sequence[Any], first_ns: int | None) -> None:
    """Make the shared x axis one of UTC times; the label carries the date on which it begins."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    axis = axes[-1]
    if first_ns is None:
        axis.set_xlabel("time (UTC)")
        return
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, formats=_TIME_FORMATS, show_offset=False))
    begins = str(np.datetime64(first_ns, "ns").astype("datetime64[s]")).replace("T", " ")
    axis.set_xlabel(f"time (UTC, from {begins})")


def thousands() -> Any:
    """Return a formatter that writes 12,345 and leaves fractions."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _position: f"{value:,.10g}")


def legend_above(axis: Any) -> None:
    """Put the legend on one line above the panel, right, so that it hides nothing."""
    handles, _ = axis.get_legend_handles_labels()
    if handles:
        axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), borderaxespad=0.2)


def say_empty(axis: Any) -> None:
    """Write that there is nothing to show."""
    axis.text(0.5, 0.5, "nothing to show", ha="center", va="center", color=GREY, transform=axis.transAxes)
    axis.set_xticks([])
    axis.set_yticks([])


def to_png(figure: Any) -> bytes:
    """Return the figure as PNG."""
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
