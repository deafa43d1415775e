"""The processes of an exactness drill: replicas of Execution, and what else there must be that orders come about."""

import os
import re
import sys
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.drills.exactness.world import INSTRUMENTS, PRICES, SHARDS, read_back, settings
from tests.drills.load import Load, Place, Rhythm
from tests.journeys.cluster import is_swapped, new_cluster, roll_out_by_hand
from tests.journeys.cluster_settings import Announced
from tests.journeys.plain_kafka import Log
from tests.journeys.processes import AgentProcess, Agents

PAIR = ("execution-1", "execution-2")
TIMED = "execution-timed"
LOW_PRIORITY = 10
START_S = 120.0
STOP_S = 20.0
_OTHERS = ("venue", "risk")
_LINE = re.compile(r"^(\S+ \S+) INFO agents\.execution\.agent shard (\d+) (assigned|live)", re.MULTILINE)


class Fleet:
    """Agents on topics of their own; `log` has read them from their beginnings. `is_spoilt`: a drill failed on it."""

    def __init__(self, url: str, home: Path, bundles: Path, bundle: Announced, **changes: Any) -> None:
        self.url, self.home, self.registry = url, home, bundles / "registry"
        self.cluster = new_cluster(url, home, bundles, **settings(), **changes)
        self.replicas: dict[str, AgentProcess] = {}
        self.acknowledged: dict[int, Place] = {}
        self.next_id = 1
        self.is_spoilt = False
        self._bundle, self._stack = bundle, ExitStack()
        self._others: dict[str, AgentProcess] = {}

    def __enter__(self) -> Self:
        roll_out_by_hand(self.cluster.publisher(), self._bundle, INSTRUMENTS)
        self._agents = self._stack.enter_context(Agents(self.cluster.settings_file, self.home))
        self.log: Log = self._stack.enter_context(read_back(self.cluster))
        for name in _OTHERS:
            self.start_other(name)
        self.have_replicas(*PAIR)
        self.wait(lambda log: is_swapped(log, self._bundle, INSTRUMENTS), what="the first bundle trades")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def start_other(self, name: str) -> None:
        """Start an agent that is no replica, once."""
        if name not in self._others:
            self._others[name] = self._agents.start(name)

    def start(self, name: str) -> None:
        """Start a replica; the one called TIMED notes its times in `timings`."""
        if name != TIMED:
            self.replicas[name] = self._agents.start("execution", agent_id=name)
            return
        command = [sys.executable, "-m", "tests.drills.exactness.timed_replica"]
        command += [str(self.cluster.settings_file), name, str(self.timings)]
        self.replicas[name] = self._agents.add(AgentProcess(name, command, self.home / f"{name}.log"))

    @property
    def timings(self) -> Path:
        """What the replica TIMED has noted, once it has ended."""
        return self.home / "timings.npz"

    def let_replicas_go_first(self, *pids: int) -> None:
        """Lower the priority of the other agents and of some more processes, on a machine with few cores.

        What a replica's times then show is the replica, not who else wanted its core.
        """
        for pid in (*pids, *(process.pid for process in self._others.values())):
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(task.name), LOW_PRIORITY)

    def kill(self, name: str) -> None:
        """End a replica by SIGKILL."""
        self._agents.kill(self.replicas.pop(name))

    def leave(self, name: str) -> None:
        """End a replica by SIGTERM: it must do so in time, with status 0."""
        self._agents.stop(self.replicas.pop(name), within_s=STOP_S)

    def freeze(self, name: str) -> AgentProcess:
        """Stop a replica from running and leave it to the caller: it is none any more."""
        process = self.replicas.pop(name)
        self._agents.freeze(process)
        return process

    def thaw(self, process: AgentProcess) -> None:
        """Let a frozen replica go on; it may end by itself."""
        self._agents.thaw(process)

    def take_back(self, process: AgentProcess) -> None:
        """Count a thawed process as a replica again."""
        self.replicas[process.name] = process

    def forget(self, process: AgentProcess) -> None:
        """Make sure that a process has ended and look after it no more."""
        self._agents.kill(process)

    def have_replicas(self, *names: str) -> None:
        """Start and stop replicas until there are exactly these, each with shards."""
        for name in [name for name in self.replicas if name not in names]:
            self.leave(name)
        for name in names:
            if name not in self.replicas:
                self.start(name)
        since_ns = time.time_ns()
        self.wait(lambda log: _own_all(log, names, since_ns), what=f"{names} own the shards")

    def wait(self, happened: Callable[[Log], object], *, what: str, timeout_s: float = START_S) -> None:
        """Read the topics until `happened` is true of their log. Raises NeverHappened; fails if a process has ended."""
        self.log.wait(happened, what=what, timeout_s=timeout_s)
        self._agents.check_running()

    def feed(self, rhythm: Rhythm) -> Load:
        """Start a feed that goes on where the last ended."""
        return Load(self.url, self.cluster.prefix, rhythm, PRICES, first_id=self.next_id)

    def stop_feed(self, feed: Load) -> list[str]:
        """Stop it, keep what was acknowledged; return what failed."""
        wrong = feed.stop()
        self.acknowledged |= feed.acknowledged
        self.next_id = feed.next_id
        return wrong

    def dead(self) -> list[str]:
        """Return what processes wrote last that have ended though they should run."""
        return [p.tail() for p in (*self.replicas.values(), *self._others.values()) if not p.is_running]

    def recoveries_s(self) -> list[float]:
        """Return the seconds from each assignment of a shard to a replica until it was live there, as they logged."""
        return [seconds for path in sorted(self.home.glob("execution-*.log")) for seconds in recoveries_in(path)]


def _own_all(log: Log, names: Collection[str], since_ns: int) -> bool:
    """Whether each of them has shards, and all shards are theirs, by heartbeats later than `since_ns`."""
    beats = [beat for beat in log.of("status", "Heartbeat") if beat["ts"] > since_ns]
    held = {beat["agent_id"]: beat.get("partitions", []) for beat in beats}
    shards = [shard for name in names for shard in held.get(name, [])]
    return all(held.get(name) for name in names) and sorted(shards) == list(range(SHARDS))


def recoveries_in(path: Path) -> list[float]:
    """Return the seconds of one replica's recoveries; a shard that is lost again before it is live has none."""
    assigned: dict[str, datetime] = {}
    found = []
    for when, shard, event in _LINE.findall(path.read_text(errors="replace")):
        moment = datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").astimezone()
        if event == "assigned":
            assigned[shard] = moment
        elif shard in assigned:
            found.append((moment - assigned.pop(shard)).total_seconds())
    return found
