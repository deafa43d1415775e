"""`tickpilot report`: figures and pictures of a recording."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from agents.cli.options import AsJson
from agents.replay.record import Recording, read_recording
from agents.report.figures import series_of, summarise
from agents.report.page import write_report
from agents.report.summary import Summary, render_table
from agents.report.told import told

_PAGE = "report.html"


def report(
    directory: Annotated[Path, typer.Argument(help="The recording's directory.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page; default: report.html in the directory.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a page of what a recording holds: equity, drawdown, exposure, fills, denials, outcomes."""
    recording = read_recording(directory)
    path = out or directory / _PAGE
    summary = _write(recording, path)
    if as_json:
        typer.echo(msgspec.json.encode(summary))
        return
    Console().print(render_table(summary))
    typer.echo(f"report: {path}")


def _write(recording: Recording, path: Path) -> Summary:
    settings = recording.settings
    partitions, instruments, cash = recording.index.shards, settings.instruments_by_name, settings.cash
    # What no step had read when the recording was made is not lost.
    summary = summarise(
        recording.records, partitions=partitions, instruments=instruments, cash=cash, was_stopped=True, report=str(path)
    )
    summary = msgspec.structs.replace(summary, was_stopped=False)
    series = series_of(
        recording.records, partitions=partitions, instruments=instruments, cash=cash, limits=settings.limits.portfolio
    )
    write_report(path, summary, series, title="tickpilot report", said=told(recording.records))
    return summary
