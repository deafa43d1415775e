"""Everything that a drill of risk needs running: the agents, each a process, and a market."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.drills.exactness.world import SHARDS, read_back
from tests.drills.load import Load, Place, Rhythm
from tests.drills.risk.applied import Applied
from tests.drills.risk.books import Books
from tests.drills.risk.sightings import Sightings
from tests.drills.risk.world import CASH, INSTRUMENTS, MULTIPLIERS, PRICES, STRATEGIES, settings
from tests.journeys.cluster import is_swapped, new_cluster
from tests.journeys.cluster_settings import Announced
from tests.journeys.plain_kafka import Json, Log, Publisher
from tests.journeys.processes import AgentProcess, Agents

_START_S = 120.0
_PATIENCE_S = 60.0
_READ_S = 0.02
_WARM_UP_HZ = 800.0
_TOPICS = ("market", "orders", "decisions", "reports", "status", "control", "dead-letters", "risk")


class Written(NamedTuple):
    """A record of `control`: where it is, when the client began to send it, and when it had the answer (ns)."""

    offset: int
    began_ns: int
    acknowledged_ns: int


class Fleet:
    """One replica of Execution, the paper venue and Risk, on topics of their own. `log` reads them back."""

    def __init__(self, url: str, home: Path, bundles: Path, announced: dict[str, Announced]) -> None:
        self.cluster = new_cluster(url, home, bundles, shards=SHARDS, **settings())
        self.home, self.registry = home, bundles / "registry"
        self.acknowledged: dict[int, Place] = {}
        self._announced, self._stack = announced, ExitStack()
        self._publisher: Publisher = self.cluster.publisher()
        self._next_id = 1
        self._load: Load | None = None

    def __enter__(self) -> Self:
        self._roll_out()
        self._agents = self._stack.enter_context(Agents(self.cluster.settings_file, self.home))
        self.log: Log = self._stack.enter_context(read_back(self.cluster, _TOPICS))
        self.applied = Applied(self.log)
        self.books = Books(self.log, cash=CASH, multipliers=MULTIPLIERS)
        self._processes = {name: self._agents.start(name) for name in ("venue", "risk", "execution")}
        for strategy, names in STRATEGIES.items():
            is_live = partial(is_swapped, bundle=self._announced[strategy], instruments=names)
            self.wait(is_live, f"{strategy} trades", timeout_s=_START_S)
        self.sightings = self._stack.enter_context(Sightings(self.cluster.url, self.cluster.prefix, SHARDS, self.home))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._load is not None:
            self.stop_load()
        self._stack.__exit__(kind, error, trace)

    def _roll_out(self) -> None:
        """Write what the Orchestrator would write."""
        for strategy, names in STRATEGIES.items():
            bundle = self._announced[strategy]
            common = {"strategy": strategy, "bundle_id": bundle.bundle_id, "sha256": bundle.sha256, "ts": 1, "who": "o"}
            rollout = {"type": "Rollout", "uri": bundle.uri, "expects": -1, **common}
            self._publisher.publish("control", rollout, key=f"rollout/{strategy}")
            for name in names:
                activate = {"type": "Activate", "instrument": name, "expects": -1, **common}
                self._publisher.publish("control", activate, key=f"active/{strategy}/{name}")

    def start_load(self, rate_hz: float) -> None:
        """Let quotes flow, and wait until every instrument is traded."""
        if self._load is not None:  # of a drill that failed
            self.stop_load()
        url, prefix = self.cluster.url, self.cluster.prefix
        # Features need some ticks before anything is decided: these come at once.
        rhythm = Rhythm(quiet_hz=rate_hz, burst_hz=_WARM_UP_HZ, burst_s=0.0 if self.acknowledged else 2.0, every_s=1e9)
        self._load = Load(url, prefix, rhythm, PRICES, first_id=self._next_id)
        self.expect_orders(INSTRUMENTS)

    def stop_load(self) -> list[str]:
        """Let no more quotes flow; return what went wrong with them."""
        assert self._load is not None
        wrong = self._load.stop()
        self.acknowledged |= self._load.acknowledged
        self._next_id, self._load = self._load.next_id, None
        return wrong

    def expect_orders(self, instruments: tuple[str, ...]) -> float:
        """Wait for an order, newer than now, of each of these instruments; return the seconds that it took."""
        since_ns, names = time.time_ns(), set(instruments)

        self.wait(lambda _: all(self.sightings.last(name) > since_ns for name in names), f"orders of {sorted(names)}")
        return (time.time_ns() - since_ns) / 1e9

    def wait_applied(self, offset: int) -> int:
        """Wait until every shard has applied a record of `control`; return when the last one did (ns, step clock)."""
        self.wait(lambda _: len(self.applied.control(offset)) == SHARDS, f"every shard applies control@{offset}")
        clocks_ns: list[int] = [logged["step"]["clock_ns"] for logged in self.applied.control(offset).values()]
        return max(clocks_ns)

    def wait_risk_away(self, since_ns: int) -> None:
        """Wait until every shard was told that Risk is silent, after a time."""
        self.wait(
            lambda _: len(self.applied.hears_of_risk(alive=False, since_ns=since_ns)) == SHARDS,
            "every shard hears that Risk is silent",
        )

    def read_for(self, seconds: float) -> None:
        """Let everything go on for so long, and keep up with what it writes."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self.log.read(min(left_s, _READ_S))

    def wait_nothing_open(self, instruments: Iterable[str], *, is_flat: bool = False) -> None:
        """Wait until every order of these has its end, and their positions are zero if they are to be."""
        self.wait(
            lambda _: not self.books.open_orders(instruments) and not (is_flat and self.books.positions(instruments)),
            f"nothing is open in {sorted(instruments)}",
        )

    def control(self, message: Json, key: str) -> Written:
        """Write to `control`."""
        before = len(self.log.topic("control"))
        began_ns = time.time_ns()
        sent = self._publisher.publish("control", {**message, "ts": began_ns}, key=key)
        acknowledged_ns = time.time_ns()
        self.wait(lambda log: any(r.value == sent for r in log.topic("control")[before:]), "the record on control")
        offset = next(r.offset for r in self.log.topic("control")[before:] if r.value == sent)
        return Written(offset, began_ns, acknowledged_ns)

    def kill_risk(self) -> int:
        """End Risk by SIGKILL; return when (ns)."""
        self._agents.kill(self._processes.pop("risk"))
        return time.time_ns()

    def start_risk(self) -> AgentProcess:
        """Start Risk again."""
        self._processes["risk"] = self._agents.start("risk")
        return self._processes["risk"]

    def wait(self, happened: Callable[[Log], object], what: str, *, timeout_s: float = _PATIENCE_S) -> None:
        """Read the topics until `happened` is true of their log; fail with what the processes wrote if it never is."""
        deadline = time.monotonic() + timeout_s
        while not happened(self.log):
            if time.monotonic() > deadline:
                dead = [process.tail() for process in self._processes.values() if not process.is_running]
                raise AssertionError("\n".join([f"{what}: not within {timeout_s:g} s", f"{self._outcomes()}", *dead]))
            self.log.read(_READ_S)
        self._agents.check_running()

    def _outcomes(self) -> dict[str, int]:
        """Count what became of the newest market records, denials by code: why nothing happens, when nothing does."""
        return dict(
            Counter(
                decision.get("denial", {}).get("code", decision["outcome"])
                for batch in self.log.of("decisions", "DecisionBatch")[-200:]
                for logged in batch["steps"]
                for decision in logged.get("decisions", ())
            )
        )
