"""One exactness drill: feed on, faults, feed off, every record decided, the log checked and derived again."""

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec import Struct

from tests.bench.measure import percentile, result
from tests.drills.exactness.checks import problems, rederived, void_records
from tests.drills.exactness.fleet import Fleet
from tests.drills.exactness.progress import Progress
from tests.drills.exactness.world import SHARDS
from tests.drills.load import Rhythm
from tests.journeys.plain_kafka import Log
from tests.journeys.processes import run_command
from tests.waiting import NeverHappened

RECOVERY_S = 2.0
_PATIENCE_S = 90.0
_END_S = 60.0
_COMMAND_S = 300.0


class Form(Struct, frozen=True, kw_only=True):
    """How long the drills are. `recovery_s`: what is asked of a replica between assignment and live."""

    name: str
    rhythm: Rhythm
    swap_rhythm: Rhythm
    recovery_s: float
    kills: int
    scalings: int
    swaps: int
    frozen_s: float
    leader_kills: int
    resumes_s: float


# In CI anything may run beside it: there the short form judges exactness alone, the full one speed too.
SHORT = Form(
    name="short",
    rhythm=Rhythm(quiet_hz=80, burst_hz=500, burst_s=0.2, every_s=2.0),
    swap_rhythm=Rhythm(quiet_hz=100, burst_hz=2_500, burst_s=0.3, every_s=1.0),
    recovery_s=30.0,
    kills=3,
    scalings=1,
    swaps=5,
    frozen_s=4.0,
    leader_kills=1,
    resumes_s=60.0,
)
FULL = Form(
    name="full",
    rhythm=Rhythm(quiet_hz=150, burst_hz=1_000, burst_s=0.2, every_s=2.0),
    swap_rhythm=Rhythm(quiet_hz=150, burst_hz=2_500, burst_s=0.5, every_s=1.0),
    recovery_s=RECOVERY_S,
    kills=100,
    scalings=20,
    swaps=200,
    frozen_s=30.0,
    leader_kills=5,
    resumes_s=10.0,
)


class NewDrill(Protocol):
    """Makes the drill of that name, over a fleet that works.

    `rhythm`: another than the form's. `brokers`: the address of other brokers, with three copies of everything.
    """

    def __call__(self, name: str, *, rhythm: Rhythm | None = None, brokers: str | None = None) -> "Drill": ...


class Drill:
    """Collects what went wrong, all of it: `problems` must be empty. `results` are the figures."""

    def __init__(self, fleet: Fleet, name: str, form: Form, rhythm: Rhythm) -> None:
        self.fleet, self.name, self.form, self._rhythm = fleet, name, form, rhythm
        self.problems: list[str] = []
        self.results: list[dict[str, Any]] = []
        self.progress = Progress(fleet.log)

    def __enter__(self) -> Self:
        self.fleet.is_spoilt = True  # until the opposite is proved
        self._began_s, self._recovered = time.monotonic(), len(self.fleet.recoveries_s())
        self._void = void_records(self.fleet.log)
        self._feed = self.fleet.feed(self._rhythm)
        self.expect_trading("before the drill")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._feed.stop()
            return
        self._finish()
        self.fleet.is_spoilt = bool(self.problems)

    def expect_trading(self, what: str) -> float:
        """Wait until every shard decides records, and an order is sent, newer than now; return how long that took."""
        since_ns, began_s = time.time_ns(), time.monotonic()
        self._wait(lambda _: self.progress.has_ordered_since(since_ns), f"{what}: an order")
        self._wait(lambda _: self.progress.has_decided_since(since_ns), f"{what}: every shard decides")
        return time.monotonic() - began_s

    def expect(self, happened: Callable[[Log], object], what: str) -> None:
        """Read until something has happened. Fails with what is known when it does not."""
        self._wait(happened, what)

    def read_for(self, seconds: float) -> None:
        """Let the run go on for so long, and keep up with what it writes."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self.fleet.log.read(min(left_s, 0.05))

    def note(self, figure: str, value: float, unit: str, *, most: float | None = None) -> None:
        """Keep a figure; with `most` it is judged, and a problem when it is beyond."""
        target, passed = ("", None) if most is None else (f"<= {most:g}", value <= most)
        self.results.append(result(f"{self.name}/{figure}", value, unit, target=target, passed=passed))
        if passed is False:
            self.problems.append(f"{figure}: {value:g} {unit}, at most {most:g} are allowed")

    def _wait(self, happened: Callable[[Log], object], what: str) -> None:
        try:
            self.fleet.log.wait(happened, what=what, timeout_s=_PATIENCE_S)
        except NeverHappened as error:
            raise AssertionError("\n".join([f"{error}", *self.problems, *self.fleet.dead()])) from error

    def _finish(self) -> None:
        fleet, log = self.fleet, self.fleet.log
        self.problems += fleet.stop_feed(self._feed)
        log.read_to_end()
        try:
            log.wait(_is_decided, what="every market record decided", timeout_s=_END_S)
        except NeverHappened as error:
            self.problems.append(f"{error}"[:300])
        lasted_s = time.monotonic() - self._began_s
        log.read_to_end()
        self.problems += problems(log, fleet.acknowledged)
        self.problems += fleet.dead()
        self.note("problems", len(self.problems), "", most=0)
        derived = rederived(log, fleet.cluster, fleet.registry)
        if not derived.is_equal:
            self.problems.append(f"derived again it differs: {derived.mismatches[:1]}")
        self.note("seconds", lasted_s, "s")
        self.note("market records", sum(len(log.topic("market", number)) for number in range(SHARDS)), "records")
        self.note("steps derived again", derived.steps, "steps")
        self.note("orders derived again", derived.orders, "orders")
        self.note("mismatches", len(derived.mismatches) + (derived.orders_digest != derived.logged_digest), "", most=0)
        if self.form is FULL:
            self._derive_by_command()
        self.note("void records", void_records(log) - self._void, "records")
        recoveries = fleet.recoveries_s()[self._recovered :]
        if recoveries:
            self.note("recoveries", len(recoveries), "shards")
            self.note("recovery after the assignment, p50", percentile(recoveries, 50), "s")
            self.note("recovery after the assignment, p99", percentile(recoveries, 99), "s")
            slowest = max(recoveries)
            self.note("recovery after the assignment, slowest", slowest, "s", most=self.form.recovery_s)

    def _derive_by_command(self) -> None:
        """What an operator does: record everything, derive it again; the command fails when a byte differs."""
        recording, settings = self.fleet.home / "recording", str(self.fleet.cluster.settings_file)
        run_command("record", str(recording), "--settings", settings, timeout_s=_COMMAND_S)
        replayed = json.loads(run_command("replay", str(recording), "--json", timeout_s=_COMMAND_S))
        self.note("orders derived again from a recording", replayed["orders"], "orders")


def _is_decided(log: Log) -> bool:
    decided = dict.fromkeys(range(SHARDS), 0)
    for batch in log.of("decisions", "DecisionBatch"):
        if batch["steps"]:
            last = batch["steps"][-1]["step"]["market_to"]
            decided[batch["partition"]] = max(decided[batch["partition"]], last)
    return all(decided[number] == len(log.topic("market", number)) for number in range(SHARDS))
