"""`tickpilot demo`."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agents.cli.options import SettingsFile, load
from agents.demo.plan import DemoOptions, make_plan
from agents.demo.results import conclude, prepare_home
from agents.demo.session import DemoRun, DemoSession
from agents.lifecycle.process import run_async
from agents.report.summary import Summary, render_table
from messages import SystemClock

_PHASES = {"baseline": "staging the baseline bundle", "training": "waiting for the training", "trading": "trading"}


def demo(
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Quotes, trades or bars: CSV, CSV.gz, Parquet. May be repeated.")
    ] = None,
    instrument: Annotated[str | None, typer.Option(help="Names the instrument where the files don't.")] = None,
    seed: Annotated[int, typer.Option(help="Of the market and the training.")] = 0,
    speed: Annotated[float, typer.Option(help="1: as recorded; 0: as fast as it goes, repeatable.")] = 0.0,
    ticks: Annotated[int | None, typer.Option(help="How many market records; default all, or 60,000 made up.")] = None,
    timesteps: Annotated[int, typer.Option(help="Of the DQN training.")] = 60_000,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Train and swap, or trade the baseline alone.")
    ] = True,
    keep: Annotated[Path, typer.Option(help="Where log, bundles and report go; an earlier run's are replaced.")] = Path(
        "demo-out"
    ),
    json: Annotated[Path | None, typer.Option(help="Write the summary to this file, too.")] = None,
    settings: SettingsFile = None,
) -> None:
    """Run all agents in this process: feed, Execution, venue, Risk, Trainer, Orchestrator; train and swap a policy."""
    options = DemoOptions(
        data=tuple(data or ()),
        instrument=instrument,
        seed=seed,
        speed=speed,
        ticks=ticks,
        timesteps=timesteps,
        is_trained=train,
    )
    logging.getLogger("agents.execution").setLevel(logging.ERROR)  # its transitions are in the summary
    prepare_home(keep)
    plan = make_plan(options, keep.resolve(), load(settings))
    console, clock = Console(), SystemClock()
    began_ns = clock.perf_ns()
    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=len(plan.messages))

        def show(phase: str, done: int, total: int) -> None:
            progress.update(task, description=_PHASES[phase], completed=done, total=total)

        run = run_async(_run(DemoSession(plan, keep.resolve(), show)))
        seconds = (clock.perf_ns() - began_ns) / 1e9
        summary = conclude(run, seconds=seconds, tell=lambda text: progress.update(task, description=text))
    _show(console, summary, json)


async def _run(session: DemoSession) -> DemoRun:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, session.request_stop)
    return await session.run()


def _show(console: Console, summary: Summary, json: Path | None) -> None:
    console.print(render_table(summary))
    console.print(f"report: {summary.report}")
    console.print(f"orders digest: {summary.orders_digest}")
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))
    if summary.lost_ticks or summary.duplicate_orders or summary.replay_equal is False:
        raise typer.Exit(1)
