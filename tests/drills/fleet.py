"""Everything that a drill disturbs: three brokers, the agents, and programs that use nothing of us but the bus."""

import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import TimeoutExpired
from types import TracebackType
from typing import Any, Self

import msgspec

from agents.lifecycle import local_cluster
from agents.lifecycle.local_kafka import LocalBroker
from messages import TOPICS, connect
from tests.drills.copies import Copies
from tests.drills.load import Load, Place, Rhythm
from tests.drills.watch import ORDERS, Moment, Watch, beats, decides, echoes, owns
from tests.journeys.cluster import Cluster, new_cluster
from tests.journeys.cluster_settings import BTC, SHARDS, Announced
from tests.journeys.plain_kafka import Log
from tests.journeys.processes import AgentProcess, Agents

REPLICAS = ("execution-1", "execution-2")
OTHERS = ("risk-1", "venue-1", "orchestrator-1")
ECHOES = ("echo-1", "echo-2")
BUS_TOPICS = ("market", "orders")
COPIES = 3
START_S = 180.0
_STOP_S = 15.0
_ANSWERS_S = 30.0
_PRICES = {BTC: (60_000.0, 60_000.01), "SYN-A": (100.0, 100.01), "SYN-B": (2_500.0, 2_500.2)}
_ROOMY = 1e12
# Drills are about the bus: no limit of trading may end one.
_LIMITS = {
    "defaults": {"max_position": 2.0, "max_order_value": 500_000.0, "max_repeated_executions": 1_000_000},
    "portfolio": {"max_daily_loss": _ROOMY, "max_gross_exposure": _ROOMY, "max_net_exposure": _ROOMY},
}


class Fleet:
    """Agents and bus programs on topics of their own. After a drill that failed it is thrown away."""

    def __init__(self, brokers: tuple[LocalBroker, ...], home: Path, bundles: Path, bundle: Announced) -> None:
        self.brokers, self.url = brokers, local_cluster.url_of(brokers)
        self.home, self.registry, self.is_spoilt = home, bundles / "registry", False
        settings: dict[str, Any] = {"replication": COPIES, "cash": 1e9, "limits": _LIMITS}
        settings["execution"] = {
            "staging_timeout_ms": 60_000
        }  # torch starts slowly where eight processes start at once
        self.cluster: Cluster = new_cluster(self.url, home, bundles, **settings)
        self.bus_prefix = f"bus-{self.cluster.prefix}"
        self.processes: dict[str, AgentProcess] = {}
        self.acknowledged: dict[int, Place] = {}
        self.bus_acknowledged: dict[int, Place] = {}
        self.bus_sent_again: set[int] = set()
        self.next_id = 1
        self._bundle = bundle
        self._copies = Copies(self.url, brokers)
        self._stack = ExitStack()

    async def create_bus_topics(self) -> None:
        """Create the topics of the bus programs."""
        bus = connect(self.url, prefix=self.bus_prefix)
        await bus.create_topics([TOPICS[name] for name in BUS_TOPICS], shards=SHARDS, replication=COPIES)
        await bus.stop()

    def __enter__(self) -> Self:
        self._agents = self._stack.enter_context(Agents(self.cluster.settings_file, self.home))
        self._stack.callback(self._kill_programs)
        self.watch = Watch(self._stack.enter_context(self.log()), self._stack.enter_context(self.bus_log()))
        self._start_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _start_all(self) -> None:
        for name in (*REPLICAS, *OTHERS, *ECHOES):
            self.start(name)
        self._wait_for(*(owns(name) for name in REPLICAS))
        publisher = self.cluster.publisher()
        publisher.publish("bundles", self._bundle.announcement, key=self._bundle.bundle_id)

    def log(self) -> Log:
        """Return a new reader of the agents' topics, from their beginnings."""
        return self.cluster.log()

    def bus_log(self) -> Log:
        """Return a new reader of the bus programs' topics, from their beginnings."""
        return Log(self.url, self.bus_prefix, dict.fromkeys(BUS_TOPICS, SHARDS))

    @property
    def signs(self) -> list[str]:
        """What every part of the fleet must show soon after a fault."""
        return [*self.agent_signs, *(echoes(number) for number in range(SHARDS))]

    @property
    def agent_signs(self) -> list[str]:
        """Those that depend on agents."""
        return [*(decides(shard) for shard in range(SHARDS)), *(beats(name) for name in (*REPLICAS, *OTHERS))]

    def start(self, name: str) -> None:
        """Start a process that does not run."""
        if name in ECHOES:
            self.processes[name] = self._program(name, "bus_echo")
        else:
            self.processes[name] = self._agents.start(name.rpartition("-")[0], agent_id=name)

    def _program(self, name: str, module: str, *arguments: str) -> AgentProcess:
        command = [sys.executable, "-m", f"tests.drills.{module}", self.url, self.bus_prefix, *arguments]
        return AgentProcess(name, command, self.home / f"{name}.log")

    def kill(self, name: str) -> None:
        """End a process by SIGKILL."""
        self._remove(name).kill()

    def leave(self, name: str) -> None:
        """End a process by SIGTERM: it must do so in time, with status 0."""
        process = self.processes[name]
        status, _ = process.terminate(within_s=_STOP_S)
        assert status == 0, process.tail()
        self._remove(name)

    def _remove(self, name: str) -> AgentProcess:
        process = self.processes.pop(name)
        if name not in ECHOES:
            self._agents.forget(process)
        return process

    def wait_until_ready(self) -> None:
        """Wait until records flow through every part: both loads must be on."""
        self._wait_for(*self.signs, *(owns(name) for name in REPLICAS), ORDERS)

    def _wait_for(self, *signs: str) -> None:
        found = self.watch.wait(signs, Moment.now(), timeout_s=START_S, while_waiting=self._check_running)
        missing = [sign for sign, seconds in found.items() if seconds is None]
        assert not missing, f"before the drill: no sign of {missing} within {START_S:g} s"

    def _check_running(self) -> None:
        for process in self.processes.values():
            assert process.is_running, process.tail()

    def start_loads(self, rate_hz: float) -> Load:
        """Start both loads."""
        self._notes = self.home / f"bus-load-{self.next_id}.jsonl"
        arguments = (str(rate_hz), str(self.next_id), str(self._notes))
        self.processes["load-1"] = self._program("load-1", "bus_load", *arguments)
        return Load(self.url, self.cluster.prefix, Rhythm(quiet_hz=rate_hz), _PRICES, first_id=self.next_id)

    def stop_loads(self, load: Load) -> list[str]:
        """Stop both loads, each when all that it has sent is acknowledged; keep what they noted, return what failed."""
        program = self.processes.pop("load-1")
        wrong = load.stop()
        try:
            status, _ = program.terminate(within_s=_ANSWERS_S)
            if status != 0:
                wrong.append(f"bus: the load failed: {program.tail()}")
        except TimeoutExpired:
            wrong.append(f"bus: the load waits for acknowledgements {_ANSWERS_S:g} s after its end")
            program.kill()
        self.acknowledged |= load.acknowledged
        notes = [msgspec.json.decode(line) for line in self._notes.read_bytes().splitlines()]
        self.bus_acknowledged |= {note["id"]: Place(note["partition"], note["offset"]) for note in notes}
        self.bus_sent_again |= {note["id"] for note in notes if note["attempts"] > 1}
        self.next_id = max([load.next_id, *(note["id"] + 1 for note in notes)])
        return wrong

    def leader(self, topic: str, partition: int) -> LocalBroker:
        """Return the broker that leads a partition of the agents' topics."""
        return self._copies.leader(self.cluster.prefix + topic, partition)

    def wait_in_sync(self) -> None:
        """Wait until every partition has all its copies in step again."""
        self._copies.wait_in_sync()

    def _kill_programs(self) -> None:
        for name in [name for name in self.processes if name in (*ECHOES, "load-1")]:
            self.processes.pop(name).kill()
