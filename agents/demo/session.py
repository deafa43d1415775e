"""One demo run: the agents on the in-memory bus, the timeline of training and swap, and what came of it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from agents.assembly import build_agent
from agents.demo.baseline import make_baseline, store_bundle
from agents.demo.plan import STRATEGY, DemoPlan, PlannedSource, environment_of
from agents.feed.agent import FeedAgent
from agents.lifecycle.agent import Agent
from agents.lifecycle.garbage import calm_garbage_collector
from agents.lifecycle.process import stop_agents
from agents.lifecycle.supervisor import Supervisor
from bundles.loader import load_bundle
from bundles.signing import SigningKey, TrustStore
from messages import (
    BundleReady,
    BusTimeout,
    Clock,
    LoggedStep,
    NewRecord,
    Partition,
    Record,
    Rejected,
    Staged,
    Swapped,
    SystemClock,
    TrainProgress,
    TrainRequest,
    TrainResult,
    VirtualClock,
    decode,
    encode,
)
from messages.bus.cluster import create_topics
from messages.bus.memory.broker import MemoryBroker
from messages.market import MarketMessage

RUN_ID = "demo-dqn"
WAIT_S = 600.0
SWAP_WAIT_S = 60.0
STOP_S = 4.0
AGENTS = ("venue", "risk", "execution", "orchestrator", "trainer")

Progress = Callable[[str, int, int], None]


class DemoRun(Struct, frozen=True, kw_only=True):
    """What a run left: the broker with all topics, the time of each decision, and how the swap went.

    `staging_ms` is from the announcement of the trained bundle to the last replica's Staged; None without one.
    """

    plan: DemoPlan
    home: Path
    broker: MemoryBroker
    baseline_id: str
    decision_ns: tuple[int, ...]
    staging_ms: float | None
    was_stopped: bool
    training_failed: str | None


class _Watch:
    """Hears what happens on `bundles`, `status` and `training`, with real times."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.changed = asyncio.Event()
        self.announced_ns: dict[str, int] = {}
        self.staged_ns: dict[str, int] = {}
        self.swapped: dict[str, set[str]] = {}
        self.rejected: dict[str, str] = {}
        self.result: TrainResult | None = None
        self.progress: TrainProgress | None = None

    def take(self, record: Record) -> None:
        match decode(record.topic, record.value, record.headers):
            case BundleReady(sha256=sha256):
                self.announced_ns[sha256] = self._clock.perf_ns()
            case Staged(sha256=sha256):
                self.staged_ns[sha256] = self._clock.perf_ns()
            case Swapped(sha256=sha256, instrument=instrument):
                self.swapped.setdefault(sha256, set()).add(instrument)
            case Rejected(sha256=sha256, detail=detail):
                self.rejected[sha256] = detail
            case TrainResult() as result:
                self.result = result
            case TrainProgress() as progress:
                self.progress = progress
            case _:
                return
        self.changed.set()


class DemoSession:
    """Runs a plan once. `progress` hears (what is going on, done, total)."""

    def __init__(self, plan: DemoPlan, home: Path, progress: Progress) -> None:
        self._plan, self._home, self._progress = plan, home, progress
        first_ns = plan.messages[0].ts_recv
        self._clock: Clock = VirtualClock(first_ns - 1_000_000) if plan.options.speed == 0 else SystemClock()
        self._broker = MemoryBroker(clock=self._clock)
        self._bus = self._broker.connect("demo")
        self._watch = _Watch(self._clock)
        self._tasks = Supervisor()
        self._decision_ns: list[int] = []
        self._stop = asyncio.Event()
        self._feed: FeedAgent | None = None
        self._failure: str | None = None

    def request_stop(self) -> None:
        """Stop early and cleanly; what was done so far is reported."""
        self._stop.set()
        self._watch.changed.set()

    async def run(self) -> DemoRun:
        """Raises what an agent died of."""
        plan = self._plan
        key = self._make_keys()
        baseline = await asyncio.to_thread(self._baseline, key)
        await create_topics(self._bus, shards=plan.settings.shards, log_id=f"demo-{plan.options.seed}")
        agents: list[Agent] = []
        try:
            self._tasks.spawn(self._follow(), "demo-watch")
            for name in AGENTS:
                agent = build_agent(name, plan.settings, bus=self._bus, clock=self._clock, on_step=self._on_step)
                agents.append(agent)
                await agent.start()
                self._tasks.spawn(agent.run(), agent.agent_id)
            await self._play(baseline, agents)
        finally:
            await stop_agents(agents, timeout_s=STOP_S)
            await self._tasks.stop()
        return self._outcome(baseline)

    def _make_keys(self) -> SigningKey:
        key = SigningKey.generate()
        for directory in ("keys", "trust"):
            (self._home / directory).mkdir(parents=True, exist_ok=True)
        key.write(self._home / "keys" / "demo.key")
        (self._home / "trust" / "demo.pub").write_bytes((self._home / "keys" / "demo.pub").read_bytes())
        return key

    def _baseline(self, key: SigningKey) -> BundleReady:
        plan = self._plan
        created = plan.messages[0].ts_recv
        directory = make_baseline(
            self._home,
            strategy=STRATEGY,
            instruments=plan.settings.strategies[STRATEGY],
            environment=environment_of(plan),
            created=created,
            key=key,
        )
        loaded = load_bundle(directory, trust=TrustStore.of([key]))
        return BundleReady(
            bundle_id=loaded.bundle_id,
            strategy=STRATEGY,
            uri=store_bundle(directory, plan.settings.registry),
            sha256=loaded.digest,
            sequence=1,
            created=created,
        )

    async def _play(self, baseline: BundleReady, agents: list[Agent]) -> None:
        producer = await self._bus.producer()
        await producer.publish("bundles", NewRecord(key=baseline.bundle_id.encode(), value=encode(baseline)))
        self._progress("baseline", 0, len(self._plan.messages))
        await self._until_swapped(baseline.sha256)
        feed = FeedAgent(
            config=self._plan.settings.feed,
            source=PlannedSource(self._plan.messages),
            bus=self._bus,
            clock=self._clock,
            settle=self._broker.settle,
            before=self._before,
            progress=lambda done, total: self._progress("trading", done, total or done),
        )
        agents.append(feed)
        await feed.start()
        calm_garbage_collector()
        playing = self._tasks.spawn(feed.run(), feed.agent_id)
        ends = Supervisor()
        stopping = ends.spawn(self._stop.wait(), "demo-stop")
        failing = ends.spawn(self._tasks.wait(), "demo-failure")
        try:
            await asyncio.wait({playing, stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                failing.result()
        finally:
            await ends.stop()
        await self._broker.settle()

    async def _before(self, index: int, message: MarketMessage) -> None:
        """The timeline: training is asked for at one tick, and at another the feed waits for its bundle."""
        plan = self._plan
        if self._stop.is_set() or not plan.is_trained:
            return
        if index == plan.train_at:
            await self._request_training(message.ts_recv)
        if index == plan.announce_at + 1 and isinstance(self._clock, VirtualClock):
            await self._until_trained()

    async def _request_training(self, now_ns: int) -> None:
        plan = self._plan
        producer = await self._bus.producer()
        request = TrainRequest(
            run_id=RUN_ID,
            strategy=STRATEGY,
            instruments=plan.settings.strategies[STRATEGY],
            algorithm="dqn",
            timesteps=plan.options.timesteps,
            seed=plan.options.seed,
            sequence=2,
            ts=now_ns,
            data_to=plan.messages[plan.train_at - 1].ts_recv,
            announce_at=plan.messages[plan.announce_at].ts_recv,
        )
        await producer.publish("training", NewRecord(key=RUN_ID.encode(), value=encode(request)))

    async def _until_trained(self) -> None:
        await self._wait(lambda: self._watch.result is not None, "training", WAIT_S)
        result = self._watch.result
        if result is None:
            return
        if result.sha256 is None:
            self._failure = result.reason
            return
        await self._until_swapped(result.sha256)

    async def _until_swapped(self, sha256: str) -> None:
        wanted = set(self._plan.settings.strategies[STRATEGY])
        await self._wait(
            lambda: self._watch.swapped.get(sha256) == wanted or sha256 in self._watch.rejected, "swap", SWAP_WAIT_S
        )
        if sha256 in self._watch.rejected:
            self._failure = self._watch.rejected[sha256]
        await self._broker.settle()

    async def _wait(self, is_done: Callable[[], bool], phase: str, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not is_done() and not self._stop.is_set():
                    self._watch.changed.clear()
                    await self._watch.changed.wait()
                    if phase == "training" and (progress := self._watch.progress) is not None:
                        self._progress(phase, progress.timesteps_done, progress.timesteps_total)
        except TimeoutError:
            raise BusTimeout(f"the demo's {phase}", timeout_s) from None

    async def _follow(self) -> None:
        consumer = await self._bus.consumer()
        await consumer.assign({Partition(topic, 0): 0 for topic in ("bundles", "status", "training")})
        while True:
            for record in await consumer.poll(timeout_s=WAIT_S):
                self._watch.take(record)

    def _on_step(self, logged: LoggedStep, _partition: int, took_ns: int) -> None:
        if logged.decisions:
            self._decision_ns.append(took_ns // len(logged.decisions))

    def _outcome(self, baseline: BundleReady) -> DemoRun:
        watch = self._watch
        sha256 = watch.result.sha256 if watch.result is not None else None
        staging_ms = None
        if sha256 in watch.announced_ns and sha256 in watch.staged_ns:
            staging_ms = (watch.staged_ns[sha256] - watch.announced_ns[sha256]) / 1e6
        return DemoRun(
            plan=self._plan,
            home=self._home,
            broker=self._broker,
            baseline_id=baseline.bundle_id,
            decision_ns=tuple(self._decision_ns),
            staging_ms=staging_ms,
            was_stopped=self._stop.is_set(),
            training_failed=self._failure,
        )
