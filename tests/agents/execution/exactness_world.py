"""A small world for the exactness proof: one shard, owners that can be frozen at any operation, lagging writers."""

import asyncio
from collections import deque
from contextlib import suppress

import msgspec

from agents.execution.directives import Directives
from agents.execution.runner import ShardRunner
from agents.lifecycle.supervisor import Supervisor
from messages import (
    TOPICS,
    Bus,
    ExecutionReport,
    NewRecord,
    Partition,
    ProducerFenced,
    Quote,
    Record,
    ReportStatus,
    VirtualClock,
    decode,
    encode,
)
from messages.bus.memory.broker import MemoryBroker
from messages.control import ControlMessage, LogStarted, control_key
from messages.decisions import RiskAlive, StepInput
from messages.reports import OrderPosition
from tests.agents.execution.exactness_plot import BUNDLES, FLIP, QUIET, TICK_NS, Plot, activate, new_shard
from tests.checker import valid


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
            await self.control(activate(name, FLIP, -1))

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
