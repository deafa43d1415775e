"""The report: one HTML file that needs nothing else."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from agents.report.figures import Series
from agents.report.plots import Picture, draw_pictures
from agents.report.summary import REPORT, DeniedOrders, Row, Summary, rows
from agents.report.told import MOST, Told
from messages.denials import DENIAL_TEXTS

_TOPIC = re.compile("`([^`]+)`")
_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; color: #1f2329; background: #fff;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .25rem; }
p { margin: .25rem 0 .9rem; color: #5a616b; }
table { border-collapse: collapse; width: 100%; margin-top: 1.25rem; }
th, td { text-align: left; vertical-align: top; padding: .38rem .9rem .38rem 0; border-bottom: 1px solid #e8eaed; }
th { font-weight: 600; font-size: .82rem; color: #5a616b; }
td:nth-child(1) { white-space: nowrap; }
td:nth-child(2) { text-align: right; font-variant-numeric: tabular-nums; font-weight: 600; min-width: 14rem; }
th:nth-child(2) { text-align: right; }
td:nth-child(3) { color: #5a616b; font-size: .87rem; overflow-wrap: anywhere; }
code { font: .95em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
tr.bad td:nth-child(2) { color: #c2261d; }
img { display: block; width: 100%; height: auto; }
@media print { h2, img { break-inside: avoid; } }
"""


def write_report(
    path: Path, summary: Summary, series: Series, *, title: str = "tickpilot report", said: Sequence[Told] = ()
) -> Path:
    """Write the report of a run to `path`, folders included, and return it. Raises PlottingMissing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_page(summary, draw_pictures(series), title=title, said=said), encoding="utf-8")
    return path


def format_page(summary: Summary, pictures: Iterable[Picture], *, title: str, said: Sequence[Told] = ()) -> str:
    """Return the page: the table first, the pictures after it, everything inside the one file."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(_headline(summary))}</p>",
            "<table><thead><tr><th>figure</th><th>value</th><th>how it was counted</th></tr></thead><tbody>",
            *(_row(row) for row in rows(summary) if row.name != REPORT),
            "</tbody></table>",
            *(_figure(picture) for picture in pictures),
            *_denials(summary),
            *_said(said),
            "</body></html>\n",
        ]
    )


def _headline(summary: Summary) -> str:
    begun = "Stopped early. " if summary.was_stopped else ""
    return (
        f"{begun}Ticks {summary.ticks:,}, orders {summary.orders:,}, fills {summary.fills:,}, swaps {summary.swaps:,}; "
        f"ticks lost {summary.lost_ticks:,}, duplicate orders {summary.duplicate_orders:,}."
    )


def _row(row: Row) -> str:
    begin = '<tr class="bad">' if row.is_bad else "<tr>"
    note = _TOPIC.sub(r"<code>\1</code>", escape(row.note))
    return f"{begin}<td>{escape(row.name)}</td><td>{escape(row.value)}</td><td>{note}</td></tr>"


def _denials(summary: Summary) -> list[str]:
    if not summary.denied_orders:
        return []
    return [
        "<h2>Why orders were denied</h2>",
        "<p>By code, the most frequent first; the numbers are those of the newest denial.</p>",
        "<table><thead><tr><th>code</th><th>orders</th><th>what it says, and what to do</th></tr></thead><tbody>",
        *(_denial(denied) for denied in summary.denied_orders),
        "</tbody></table>",
    ]


def _denial(denied: DeniedOrders) -> str:
    by_name = ", ".join(f"{name or 'unknown'} {count:,}" for name, count in denied.instruments.items())
    text = DENIAL_TEXTS[denied.code]
    note = f"{text.says}. To do: {text.to_do}; the newest: `{denied.last}`; by instrument: {by_name}"
    return _row(Row(denied.code.value, f"{denied.orders:,}", note))


def _said(said: Sequence[Told]) -> list[str]:
    if not said:
        return []
    return [
        "<h2>What was halted, changed and told</h2>",
        f"<p>Switches on control and alerts, oldest first{f'; the newest {MOST}' if len(said) == MOST else ''}.</p>",
        "<table><thead><tr><th>time (UTC)</th><th>what</th><th>who, and why</th></tr></thead><tbody>",
        *(_row(Row(one.time, one.what, f"{one.who}: {one.text}", one.is_bad)) for one in said),
        "</tbody></table>",
    ]


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    title, caption = escape(picture.title), escape(picture.caption)
    return f'<h2>{title}</h2><p>{caption}</p><img alt="{title}" src="data:image/png;base64,{data}">'
