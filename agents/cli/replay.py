"""`tickpilot record` and `tickpilot replay`."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.lifecycle.process import run_async
from agents.replay.record import RecordingIndex, read_recording, record_bus
from agents.replay.replay import Replayed
from agents.settings import Settings
from messages import encode

Directory = Annotated[Path, typer.Argument(help="The recording's directory.")]


def record(directory: Directory, settings: SettingsFile = None) -> None:
    """Write all topics, the settings, keys and bundles to a directory, as Parquet."""
    index = run_async(_record(directory, load(settings)))
    typer.echo(", ".join(f"{topic} {count}" for topic, count in index.records.items()))


async def _record(directory: Path, settings: Settings) -> RecordingIndex:
    bus = connect_to(settings, "record")
    try:
        return await record_bus(bus, directory, settings)
    finally:
        await bus.stop()


def replay(directory: Directory, as_json: AsJson = False) -> None:
    """Derive every decision and order of a recording again; exit status 1 when one byte differs."""
    result = read_recording(directory).replay()
    if as_json:
        typer.echo(msgspec.json.encode({**_figures(result), "first_mismatch": _first(result)}))
    else:
        for name, value in _figures(result).items():
            typer.echo(f"{name:14} {value}")
        if (first := _first(result)) is not None:
            typer.echo(f"first mismatch {first}")
    if not result.is_equal:
        raise typer.Exit(1)


def _figures(result: Replayed) -> dict[str, object]:
    return {
        "steps": result.steps,
        "decisions": result.decisions,
        "orders": result.orders,
        "orders_digest": result.orders_digest,
        "logged_digest": result.logged_digest,
        "equal": result.is_equal,
    }


def _first(result: Replayed) -> dict[str, object] | None:
    if not result.mismatches:
        return None
    mismatch = result.mismatches[0]
    return {
        "partition": mismatch.partition,
        "n": mismatch.n,
        "logged": encode(mismatch.logged).decode(),
        "derived": encode(mismatch.derived).decode(),
    }
