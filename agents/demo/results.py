"""What a demo run leaves: the recording, its replay, the report and the summary."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from agents.demo.session import DemoRun
from agents.replay.record import read_recording, write_recording
from agents.replay.replay import Replayed
from agents.report.figures import series_of, summarise
from agents.report.page import write_report
from agents.report.summary import Summary
from agents.report.told import told
from messages import TOPICS, Partition, Record, Refused

MARKER = "recording.json"
REPORT = "report.html"
_FOLDERS = ("keys", "trust", "bundles", "models")

Tell = Callable[[str], None]


class HomeOccupied(Refused):
    """Raised when the demo would have to clear a directory that is not one of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} holds something that no demo has written; name another one with --keep")
        self.directory = directory


def prepare_home(home: Path) -> None:
    """Make an empty directory for a run; what an earlier run left there goes. Raises HomeOccupied."""
    if home.exists() and any(home.iterdir()):
        known = {*_FOLDERS, MARKER, REPORT, *(f"{topic}.parquet" for topic in TOPICS)}
        if not {path.name for path in home.iterdir()} <= known:
            raise HomeOccupied(home)
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)


def conclude(run: DemoRun, *, seconds: float, tell: Tell) -> Summary:
    """Keep the log, re-derive every order from it, write the report; return the summary.

    A run that was stopped gets its report at once, and neither recording nor replay.
    """
    shutil.rmtree(run.home / "keys", ignore_errors=True)  # the throw-away key has signed what it had to sign
    replayed: Replayed | None = None
    if not run.was_stopped:
        tell("keeping the log")
        settings = run.plan.settings
        write_recording(run.home, _all_records(run), settings=settings, shards=settings.shards)
        tell("deriving every order again")
        replayed = read_recording(run.home).replay()
    tell("writing the report")
    return _report(run, replayed, seconds)


def _report(run: DemoRun, replayed: Replayed | None, seconds: float) -> Summary:
    settings = run.plan.settings
    labels = {run.baseline_id: "baseline"}

    def records(topic: str, number: int) -> Sequence[Record]:
        return run.broker.log(Partition(topic, number)).records

    summary = summarise(
        records,
        partitions=settings.shards,
        instruments=settings.instruments_by_name,
        cash=settings.cash,
        decision_ns=run.decision_ns,
        staging_ms=run.staging_ms,
        labels=labels,
        replayed=replayed,
        training_failed=run.training_failed,
        seed=run.plan.options.seed,
        seconds=seconds,
        was_stopped=run.was_stopped,
    )
    series = series_of(
        records,
        partitions=settings.shards,
        instruments=settings.instruments_by_name,
        cash=settings.cash,
        decision_ns=run.decision_ns,
        labels=labels,
        limits=settings.limits.portfolio,
    )
    path = write_report(run.home / REPORT, summary, series, title="tickpilot demo", said=told(records))
    return msgspec.structs.replace(summary, report=str(path))


def _all_records(run: DemoRun) -> dict[Partition, Sequence[Record]]:
    shards = run.plan.settings.shards
    return {
        partition: run.broker.log(partition).records
        for topic in TOPICS.values()
        for partition in (Partition(topic.name, number) for number in range(topic.partitions(shards)))
    }
