"""One drill: load on, fault, signs of life, load off, and the topics read back from the beginning."""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec import Struct

from tests.bench.measure import result
from tests.drills.checks import doubled, lost, places_by_id, unanswered
from tests.drills.fleet import Fleet
from tests.drills.load import Load
from tests.drills.watch import ORDERS, Moment, beats
from tests.journeys.cluster import is_all_decided
from tests.journeys.cluster_settings import SHARDS
from tests.journeys.log_checks import problems, replayed
from tests.journeys.plain_kafka import Log
from tests.waiting import NeverHappened, eventually

LINES_PER_MINUTE = 200
_PATIENCE_S = 90.0
_END_S = 30.0


class Form(Struct, frozen=True, kw_only=True):
    """How long a drill is. `rate_hz` is that of each of both loads; a part has `recovered_s` to show itself again.

    `starting_rate_hz` is for drills that start processes: three brokers at full rate fill two cores, and how long an
    import takes there says nothing of a replica.
    """

    name: str
    rate_hz: float
    starting_rate_hz: float
    recovered_s: float
    leader_kills: int
    rollings: int
    outages: int
    stalls: int
    consumer_kills: int
    hand_overs: int


# The short form is judged where anything may run beside it, as in CI; the full one by what is required.
SHORT = Form(
    name="short",
    rate_hz=60,
    starting_rate_hz=20,
    recovered_s=60,
    leader_kills=1,
    rollings=1,
    outages=1,
    stalls=1,
    consumer_kills=3,
    hand_overs=2,
)
FULL = Form(
    name="full",
    rate_hz=150,
    starting_rate_hz=20,
    recovered_s=10,
    leader_kills=3,
    rollings=2,
    outages=2,
    stalls=3,
    consumer_kills=20,
    hand_overs=20,
)


class NewDrill(Protocol):
    """Makes the drill of that name, over a fleet that works."""

    def __call__(self, name: str, *, starts_processes: bool = False) -> "Drill": ...


class Drill:
    """Collects what went wrong, all of it: `problems` must be empty. `results` are the figures."""

    def __init__(self, fleet: Fleet, name: str, form: Form, *, rate_hz: float) -> None:
        self.fleet, self.name, self.form, self._rate_hz = fleet, name, form, rate_hz
        self.problems: list[str] = []
        self.results: list[dict[str, Any]] = []
        self._recovered_s: dict[str, list[float]] = {"agents": [], "bus": [], "orders": []}
        self._dead: set[str] = set()

    def __enter__(self) -> Self:
        self._load: Load = self.fleet.start_loads(self._rate_hz)
        self._lines, self._began_s = self._count_lines(), time.monotonic()
        self._places_before = len(self.fleet.acknowledged), len(self.fleet.bus_acknowledged)
        try:
            self.fleet.wait_until_ready()
        except BaseException:
            self.fleet.is_spoilt = True
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.fleet.is_spoilt = True  # until the opposite is proved
        if error is None:
            self._finish()
            self.fleet.is_spoilt = bool(self.problems)

    def expect_recovery(self, *more: str, what: str, without: str = "") -> None:
        """Wait for a new sign of everything; note how long each side took.

        `more` are further signs of agents; the agent `without` is away on purpose.
        """
        fleet = self.fleet
        signs = [sign for sign in (*fleet.signs, *more) if sign != beats(without)]
        found = fleet.watch.wait([*signs, ORDERS], Moment.now(), timeout_s=_PATIENCE_S)
        for sign, seconds in found.items():
            side = "orders" if sign == ORDERS else "agents" if sign in {*fleet.agent_signs, *more} else "bus"
            self._recovered_s[side].append(_PATIENCE_S if seconds is None else seconds)
            if seconds is None:
                self.problems.append(f"{side}: {what}: no sign of {sign!r} within {_PATIENCE_S:g} s")
            elif seconds > self.form.recovered_s:
                self.problems.append(f"{side}: {what}: {sign!r} only after {seconds:.1f} s")
        self._find_dead(what)

    def _find_dead(self, what: str) -> None:
        for name, process in self.fleet.processes.items():
            if not process.is_running and name not in self._dead:
                self._dead.add(name)
                self.problems.append(f"{what}: {process.tail()}")

    def _finish(self) -> None:
        lasted_s = time.monotonic() - self._began_s
        self.problems += self.fleet.stop_loads(self._load)
        with self.fleet.bus_log() as log:
            log.read_to_end()
            self._check_bus(log)
        with self.fleet.log() as log:
            log.read_to_end()
            self._check_agents(log)
        self._find_dead("at the end")
        self._check_lines(lasted_s)

    def _check_bus(self, log: Log) -> None:
        fleet = self.fleet
        read = places_by_id(_all(log, "market"), "id")

        def missing() -> list[int]:
            log.read()
            return unanswered(read, places_by_id(_all(log, "orders"), "id"))

        try:
            unheard = eventually(missing, what="every record echoed", timeout_s=_END_S, until=lambda ids: not ids)
        except NeverHappened:
            unheard = missing()
        answers = places_by_id(_all(log, "orders"), "id")
        repeated = sum(len(places) - 1 for places in answers.values())
        self.results.append(result(f"{self.name}/rate of each load", self._rate_hz, "records/s"))
        self._count("bus", "acknowledged", len(fleet.bus_acknowledged) - self._places_before[1])
        self._count("bus", "sent again after no answer", len(fleet.bus_sent_again))
        self._count("bus", "echoes that came again", repeated)
        self._forbid("bus", "lost", lost(fleet.bus_acknowledged, read))
        self._forbid("bus", "doubled", doubled(read, sent_again=fleet.bus_sent_again))
        self._forbid("bus", "never delivered", unheard)
        self._forbid("bus", "invented", sorted(answers.keys() - read.keys()))
        self._judge("bus", "recovery", max(self._recovered_s["bus"], default=0.0), "s", self.form.recovered_s)

    def _check_agents(self, log: Log) -> None:
        fleet = self.fleet
        wrong: list[str] = []
        try:
            log.wait(is_all_decided, what="every market record decided", timeout_s=_END_S)
            log.wait(lambda log: not problems(log), what="a log without problems", timeout_s=10)
        except NeverHappened as error:
            wrong = [f"{error}"[:300], *problems(log)]
        derived = replayed(log, fleet.cluster, fleet.registry)
        if not derived.is_equal:
            wrong.append(f"derived again it differs: {derived.mismatches[:1]}")
        read = places_by_id(_all(log, "market"), "seq")
        load = self._load
        self._count("agents", "sent", load.sent)
        self._count("agents", "acknowledged", len(fleet.acknowledged) - self._places_before[0])
        self._count("agents", "read", sum(number in read for number in load.acknowledged))
        self._count("agents", "orders", len(log.of("orders", "Order")))
        self._count("agents", "orders derived again", derived.orders)
        self._forbid("agents", "lost", lost(fleet.acknowledged, read))
        self._forbid("agents", "doubled", doubled(read))
        self._forbid("agents", "problems in the log", wrong)
        self._judge("agents", "recovery", max(self._recovered_s["agents"], default=0.0), "s", self.form.recovered_s)
        self._judge(
            "agents", "first order after", max(self._recovered_s["orders"], default=0.0), "s", self.form.recovered_s
        )
        self._judge("agents", "dead processes", len(self._dead), "processes", 0)

    def _check_lines(self, lasted_s: float) -> None:
        minutes = max(lasted_s / 60, 1.0)
        before = self._lines
        written = {name: count - before.get(name, 0) for name, count in self._count_lines().items()}
        name, most = max(written.items(), key=lambda item: item[1])
        self._judge("agents", "log lines of the noisiest process", most / minutes, "lines/minute", LINES_PER_MINUTE)
        if most / minutes > LINES_PER_MINUTE:
            self.problems.append(f"{name} wrote {most} lines in {lasted_s:.0f} s")

    def _count_lines(self) -> dict[str, int]:
        return {path.stem: path.read_bytes().count(b"\n") for path in self.fleet.home.glob("*.log")}

    def _count(self, side: str, figure: str, value: float) -> None:
        self.results.append(result(f"{self.name}/{side}/{figure}", value, "records"))

    def _forbid(self, side: str, figure: str, found: list[Any]) -> None:
        self._judge(side, figure, len(found), "records", 0)
        if found:
            self.problems.append(f"{side}: {len(found)} {figure}: {found[:5]}")

    def _judge(self, side: str, figure: str, value: float, unit: str, most: float) -> None:
        name = f"{self.name}/{side}/{figure}"
        self.results.append(result(name, value, unit, target=f"<= {most:g}", passed=value <= most))


def _all(log: Log, topic: str) -> Iterable[Any]:
    return [record for number in range(SHARDS) for record in log.topic(topic, number)]
