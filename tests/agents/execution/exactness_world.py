"""A small world for the exactness proof: one shard, owners that can be frozen at any operation, lagging writers.

What operators do in it is a plot: QUIET halts and resumes; EVENTFUL also swaps, goes back, shadows, moves the
shard's share of the portfolio's limits, trades two instruments whose records are decided together, and has a policy
that fails until the bundle before takes over.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

import msgspec
from msgspec import Struct

from agents.execution.config import ExecutionConfig
from agents.execution.directives import Directives
from agents.execution.runner import ShardRunner
from agents.execution.shard import Shard
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import Policy, ServingBundle, ShardConfig
from agents.lifecycle.supervisor import Supervisor
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits
from bundles.actions import ActionMapping
from bundles.errors import PolicyError
from bundles.features import Feature, FeatureSpec, Floats32, Observer
from messages import (
    TOPICS,
    Activate,
    Bus,
    ExecutionReport,
    Halt,
    NewRecord,
    Partition,
    ProducerFenced,
    Quote,
    Record,
    RejectCode,
    ReportStatus,
    Resume,
    Shadow,
    VirtualClock,
    decode,
    encode,
)
from messages import Limits as LimitsMessage
from messages.bus.memory.broker import MemoryBroker
from messages.control import ControlMessage, LogStarted, control_key
from messages.decisions import RiskAlive, StepInput
from messages.reports import OrderPosition
from tests.checker import valid

INSTRUMENT = Instrument(instrument="X", price_step=0.5, quantity_step=1.0, taker_fee_bps=1.0)
FLIP, FICKLE, ASIDE = "0" * 64, "1" * 64, "2" * 64
TICK_NS = 20_000_000
SPEC = FeatureSpec(features=(Feature(name="queue_imbalance", params={"events": 1}), Feature(name="position")))
WIDER = FeatureSpec(features=(*SPEC.features, Feature(name="spread")))
CONFIG = ExecutionConfig(
    flush_interval_ms=50,
    checkpoint_interval_ms=100,
    decisions=DecisionConfig(max_decision_age_ms=60_000, order_timeout_ms=60_000, conflate=False, max_policy_errors=2),
)
CONFLATED = msgspec.structs.replace(CONFIG, decisions=msgspec.structs.replace(CONFIG.decisions, conflate=True))


class FlipFlop:
    """A policy whose answer depends on the position, so on which reports were applied: deciding anew differs."""

    def act(self, observation: Floats32) -> tuple[float, ...]:
        return (_flip(observation),)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


class Fickle:
    """Answers as FlipFlop does, the other way round, and fails while it is short."""

    def act(self, observation: Floats32) -> tuple[float, ...]:
        if observation[1] < 0:
            raise PolicyError(RejectCode.NOT_FINITE, "it is short")
        return (2.0 - _flip(observation),)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


def _flip(observation: Floats32) -> float:
    imbalance, position = observation.tolist()[:2]
    if position > 0:
        return 0.0
    return 2.0 if imbalance > 0 else 1.0 if position < 0 else 0.0


def _serving(sha256: str, policy: Policy, spec: FeatureSpec) -> ServingBundle:
    return ServingBundle(
        strategy="s",
        bundle_id=f"b{sha256[0]}",
        sha256=sha256,
        policy=policy,
        observer=Observer(spec),
        actions=ActionMapping(kind="levels", max_position=3.0),
    )


BUNDLES: Mapping[str, ServingBundle] = {
    FLIP: _serving(FLIP, FlipFlop(), SPEC),
    FICKLE: _serving(FICKLE, Fickle(), WIDER),
    ASIDE: _serving(ASIDE, FlipFlop(), WIDER),
}


class Plot(Struct, frozen=True, kw_only=True):
    """What operators write before each tick, from the first on, and what is traded."""

    writes: Mapping[int, tuple[ControlMessage, ...]]
    instruments: tuple[str, ...] = ("X",)
    config: ExecutionConfig = CONFIG


def _activate(instrument: str, sha256: str, expects: int) -> Activate:
    return Activate(
        strategy="s",
        instrument=instrument,
        bundle_id=BUNDLES[sha256].bundle_id,
        sha256=sha256,
        expects=expects,
        ts=0,
        who="me",
    )


def _shadow(expects: int, sha256: str | None = None) -> Shadow:
    """Let a bundle decide beside on X, or end it."""
    named = {} if sha256 is None else {"bundle_id": BUNDLES[sha256].bundle_id, "uri": "file:///b", "sha256": sha256}
    return Shadow(strategy="s", instrument="X", expects=expects, ts=0, who="me", **named)


def _halt() -> Halt:
    return Halt(scope="portfolio", level="reducing", writer="risk", reason="test", ts=0)


def _resume(*clears: int) -> Resume:
    return Resume(scope="portfolio", clears=clears, who="me", reason="test", ts=0)


def _share(version: int, gross: float) -> LimitsMessage:
    return LimitsMessage(version=version, changes={"shares.0.gross": gross}, who="risk-1", reason="test", ts=0)


# By offset: the log's id is 0, then comes an Activate of FLIP for each instrument, then what is written.
QUIET = Plot(writes={4: (_halt(),), 6: (_resume(2),)})
EVENTFUL = Plot(
    writes={
        1: (_shadow(-1, ASIDE),),  # 3
        2: (_activate("X", FICKLE, 1),),  # 4
        3: (_halt(),),  # 5
        4: (_resume(5),),  # 6
        5: (_activate("Y", FICKLE, 2), _share(1, 0.0002)),  # 7, 8: room for one of the two instruments
        6: (_share(2, 2.0), _activate("X", FLIP, 4)),  # 9, 10: more than there is, so the share stays
        7: (_share(3, 1.0), _shadow(3)),  # 11, 12
        8: (_activate("X", FICKLE, 10), _share(3, 0.0)),  # 13, 14: not the next version, so void
    },
    instruments=("X", "Y"),
    config=CONFLATED,
)


def new_shard(plot: Plot = QUIET) -> Shard:
    instruments = {name: msgspec.structs.replace(INSTRUMENT, instrument=name) for name in plot.instruments}
    config = ShardConfig(
        partition=0,
        instruments=instruments,
        strategies=dict.fromkeys(plot.instruments, "s"),
        decisions=plot.config.decisions,
    )
    return Shard(config, limits=Limits.convert({"defaults": {"duplicate_window_ms": 0}}), bundles=BUNDLES, partitions=1)


class Freezer:
    """Counts each client's operations, before and after their effect, and stops a client dead at a chosen one."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.freeze_at: dict[str, int] = {}
        self.frozen: dict[str, list[asyncio.Future[None]]] = {}
        self.points: list[str] = []

    async def before(self, client: str, operation: str) -> None:
        await self._point(client, f"before {operation}")

    async def after(self, client: str, operation: str) -> None:
        await self._point(client, f"after {operation}")

    async def _point(self, client: str, label: str) -> None:
        count = self.counts[client] = self.counts.get(client, 0) + 1
        if client == "a":
            self.points.append(label)
        if client in self.frozen or self.freeze_at.get(client) == count:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.frozen.setdefault(client, []).append(waiter)
            await waiter

    def thaw(self, client: str) -> None:
        self.freeze_at.pop(client, None)
        for waiter in self.frozen.pop(client, []):
            if not waiter.done():
                waiter.set_result(None)


class Owner:
    """A minimal Execution around the real runner: reads market, control and reports, and steps."""

    def __init__(self, name: str, bus: Bus, clock: VirtualClock, plot: Plot, *, control_lag: int) -> None:
        self._name, self._bus, self._clock, self._plot, self._control_lag = name, bus, clock, plot, control_lag
        self.tasks, self._work = Supervisor(), Supervisor()
        self.error: BaseException | None = None
        self.runner: ShardRunner | None = None
        self.market_to = 0
        self._control: deque[Record] = deque()
        self._directives = Directives()
        self._is_told_of_risk = False

    def start(self) -> None:
        self.tasks.spawn(self._guard(), self._name)

    async def stop(self) -> None:
        for tasks in (self._work, self.tasks):
            with suppress(ProducerFenced):  # thawed just now, and fenced
                await tasks.stop()

    def is_done(self, ticks: int) -> bool:
        """Whether all market records are decided and everything is on `decisions`."""
        records = ticks * len(self._plot.instruments)
        return self.runner is not None and self.market_to == records and not len(self.runner._journal)

    async def _guard(self) -> None:
        try:
            await self._live()
        except ProducerFenced as error:
            self.error = error

    async def _live(self) -> None:
        runner = ShardRunner(
            new_shard(self._plot),
            bus=self._bus,
            clock=self._clock,
            config=self._plot.config,
            owner=self._name,
            dead_letters=await self._bus.producer(),
        )
        await runner.recover()
        self.runner = runner
        work = self._work
        self.tasks.spawn(self._owned(work), f"{self._name}-work")
        for task in (runner.send_orders(), runner.read_reports(), runner.flush_often(), self._follow_control()):
            work.spawn(task, "work")
        work.spawn(self._follow_market(runner), "market")

    async def _owned(self, work: Supervisor) -> None:
        try:
            await work.wait()
        except ProducerFenced as error:
            self.error = error
            with suppress(ProducerFenced):  # several tasks may have been fenced
                await work.stop()

    async def _follow_control(self) -> None:
        consumer = await self._bus.consumer()
        await consumer.assign({Partition("control", 0): 0})
        while True:
            self._control.extend(await consumer.poll(timeout_s=3600))

    async def _follow_market(self, runner: ShardRunner) -> None:
        consumer = await self._bus.consumer()
        await consumer.assign({Partition("market", 0): runner.shard.market_to})
        while True:
            records = await consumer.poll(max_records=3, timeout_s=3600)
            await runner.wait_for_room()
            runner.step(records, self._take_inputs(runner))
            self.market_to = runner.shard.market_to

    def _take_inputs(self, runner: ShardRunner) -> tuple[StepInput, ...]:
        """What a replica gives its shard of `control`, as far as it has read; how trading began it knows at once."""
        risk = () if self._is_told_of_risk else (RiskAlive(alive=True),)
        self._is_told_of_risk = True
        setup = 1 + len(self._plot.instruments)
        while self._control and (self._control[0].offset < setup or len(self._control) > self._control_lag):
            self._directives.apply(self._control.popleft())
        return (*risk, *self._directives.inputs_for(runner.shard, BUNDLES))


class World:
    """The broker, the feeder, the venue and the operator. `report_lag`: how many orders the venue is behind.

    `seed` decides who of several is next.
    """

    def __init__(
        self,
        *,
        report_lag: int = 0,
        control_lag: int = 0,
        fencing: bool = True,
        seed: int | None = None,
        plot: Plot = QUIET,
    ) -> None:
        self.plot = plot
        self.clock = VirtualClock(1_000_000_000_000)
        self.freezer = Freezer()
        self.broker = MemoryBroker(clock=self.clock, faults=self.freezer, fencing=fencing, seed=seed)
        self.owners: dict[str, Owner] = {}
        self._report_lag, self._control_lag = report_lag, control_lag
        self._answered: set[str] = set()
        self._fed = 0

    async def start(self) -> None:
        bus = self.broker.connect("world")
        await bus.create_topics(TOPICS.values(), shards=1)
        await self.control(LogStarted(log_id="L"))
        for name in self.plot.instruments:
            await self.control(_activate(name, FLIP, -1))

    def own(self, name: str) -> Owner:
        owner = Owner(name, self.broker.connect(name), self.clock, self.plot, control_lag=self._control_lag)
        self.owners[name] = owner
        owner.start()
        return owner

    def living(self) -> list[Owner]:
        """Owners that are neither fenced nor frozen."""
        return [owner for name, owner in self.owners.items() if owner.error is None and name not in self.freezer.frozen]

    async def control(self, message: ControlMessage) -> None:
        self.broker.append(
            Partition("control", 0), [NewRecord(key=control_key(message).encode(), value=encode(message))]
        )

    async def tick(self) -> None:
        """One quote of each instrument, whatever follows, and what the operator and the venue do in the meantime."""
        index, self._fed = self._fed, self._fed + 1
        for message in self.plot.writes.get(index, ()):
            await self.control(message)
        quotes = [self._quote(name, index + turn) for turn, name in enumerate(self.plot.instruments)]
        self.broker.append(Partition("market", 0), quotes)
        await self.settle()
        self.answer(self._report_lag)
        await self.settle()
        await self.advance(TICK_NS)

    def _quote(self, instrument: str, turn: int) -> NewRecord:
        size = 5.0 if turn % 3 else 1.0
        quote = Quote(
            instrument=instrument, ts_recv=self.clock.now_ns(), bid=100.0, bid_size=size, ask=100.5, ask_size=6.0 - size
        )
        return NewRecord(key=instrument.encode(), value=encode(quote))

    def spoil_checkpoint(self) -> None:
        """The newest checkpoint no longer agrees with its digest."""
        records = self.broker.log(Partition("checkpoints", 0)).records
        if records:
            checkpoint = msgspec.structs.replace(decode("checkpoints", records[-1].value), digest="f" * 64)
            records[-1] = msgspec.structs.replace(records[-1], value=encode(checkpoint))

    def answer(self, lag: int) -> None:
        """The venue fills every valid order but the newest `lag`, once."""
        orders = [(r, m) for r, m in valid(self.records("orders")) if m["type"] == "Order"]
        for record, order in orders[: len(orders) - lag]:
            if order["order_id"] in self._answered:
                continue
            self._answered.add(order["order_id"])
            report = ExecutionReport(
                exec_id=order["order_id"],
                order_id=order["order_id"],
                instrument=order["instrument"],
                ts_event=self.clock.now_ns(),
                side=order["side"],
                strategy="s",
                bundle_id=order["bundle_id"],
                status=ReportStatus.FILLED,
                report_seq=0,
                cumulative_quantity=order["quantity"],
                average_price=100.0,
                cumulative_fee=0.0,
                leaves_quantity=0.0,
                order=OrderPosition(partition=0, offset=record.offset),
            )
            key = order["instrument"].encode()
            self.broker.append(Partition("reports", 0), [NewRecord(key=key, value=encode(report))])

    async def settle(self) -> None:
        await self.broker.settle()

    async def advance(self, duration_ns: int) -> None:
        until = self.clock.now_ns() + duration_ns
        while (deadline := self.clock.next_deadline_ns()) is not None and deadline <= until:
            self.clock.set(deadline)
            await self.settle()
        self.clock.set(until)

    def records(self, topic: str) -> list[Record]:
        return list(self.broker.log(Partition(topic, 0)).records)

    async def stop(self) -> None:
        for owner in self.owners.values():
            self.freezer.thaw(owner._name)
        for owner in self.owners.values():
            await owner.stop()
