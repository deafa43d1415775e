"""One replica on the bus in memory, with its venue and whoever writes `control`."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import TypeVar

import numpy as np

from agents.execution.agent import ExecutionAgent
from agents.execution.config import ExecutionConfig
from agents.execution.scope import Scope
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits
from bundles.loader import LoadedBundle
from bundles.signing import TrustStore
from bundles.verifier import Verifier
from messages import (
    TOPICS,
    Activate,
    Bus,
    ExecutionReport,
    Heartbeat,
    NewRecord,
    Observation,
    Order,
    Partition,
    Quote,
    ReportStatus,
    Rollout,
    Shadow,
    Swapped,
    SystemClock,
    control_key,
    decode,
    encode,
)
from messages.bus.memory.broker import MemoryBroker
from messages.control import ControlMessage, LogStarted
from messages.control_fold import ControlFold
from messages.reports import OrderPosition
from tests.bundles.samples import OBS

WAIT_S = 60.0
T = TypeVar("T")


class World:
    """One replica on the bus in memory, its venue that fills at once, and whoever writes `control`."""

    def __init__(self, good: LoadedBundle, uri: str, trust: TrustStore, *, risk_timeout_ms: int = 600_000) -> None:
        self.good, self._uri, self._trust = good, uri, trust
        self._clock = SystemClock()
        self._broker = MemoryBroker(clock=self._clock)
        self._config = ExecutionConfig(
            flush_interval_ms=5, risk_timeout_ms=risk_timeout_ms, staging_timeout_ms=1_500, heartbeat_interval_ms=50
        )
        self.agent = self._new_agent()
        self._seen: dict[str, int] = {}
        self._running: asyncio.Task[None] | None = None
        self._rollout_at = self._active_at = -1
        rows = np.random.default_rng(0).standard_normal((256, OBS)).astype(np.float32) * 3
        by_action = {int(good.runtime.act(row)[0]): row for row in rows}
        self._turns = deque([by_action[2], by_action[0]])

    def _new_agent(self) -> ExecutionAgent:
        return ExecutionAgent(
            config=self._config,
            scope=Scope(
                instruments={"AAA": Instrument(instrument="AAA", price_step=0.5, quantity_step=1.0)},
                strategies={"AAA": "momentum"},
                limits=Limits.convert({"defaults": {"duplicate_window_ms": 0}}),
                trust=self._trust,
            ),
            bus=self._broker.connect("execution"),
            clock=self._clock,
            verifier=Verifier(),
        )

    async def restart(self) -> None:
        """Stop the replica, and start another one in its place."""
        await self.stop()
        self.agent = self._new_agent()
        await self.agent.start()
        self._running = asyncio.create_task(self.agent.run())
        self.beat()
        while not (await self.next("status", Heartbeat))[1].partitions:
            pass

    async def start(self) -> None:
        await self._broker.connect("operator").create_topics(TOPICS.values(), shards=1)
        self.write(LogStarted(log_id="L"))
        self.roll_out(self._uri, self.good.digest, self.good.bundle_id)
        self.activate(self.good.digest, self.good.bundle_id)
        await self.agent.start()
        self._running = asyncio.create_task(self.agent.run())
        self.beat()
        await self.next("status", Swapped)

    def beat(self) -> None:
        """Risk says that it is alive."""
        beat = Heartbeat(agent_id="risk-1", agent="risk", ts=self._clock.now_ns(), state="live")
        self._append("status", b"risk-1/Heartbeat", encode(beat))

    async def stop(self) -> None:
        await self.agent.stop()
        if self._running is not None:
            with suppress(asyncio.CancelledError):
                await self._running

    def roll_out(self, uri: str, sha256: str, bundle_id: str) -> None:
        self._rollout_at = self.write(
            Rollout(
                strategy="momentum",
                bundle_id=bundle_id,
                uri=uri,
                sha256=sha256,
                expects=self._rollout_at,
                ts=self._clock.now_ns(),
                who="test",
            )
        )

    def activate(self, sha256: str, bundle_id: str) -> None:
        self._active_at = self.write(
            Activate(
                strategy="momentum",
                instrument="AAA",
                bundle_id=bundle_id,
                sha256=sha256,
                expects=self._active_at,
                ts=self._clock.now_ns(),
                who="test",
            )
        )

    def back(self, activate: Activate) -> None:
        """Write an Activate that somebody else has made."""
        self._active_at = self.write(activate)

    def shadow(self, uri: str, bundle: LoadedBundle | None) -> None:
        """Let a bundle decide beside; None ends it."""
        named = {} if bundle is None else {"bundle_id": bundle.bundle_id, "uri": uri, "sha256": bundle.digest}
        expects = self.fold().last_offset("shadow/momentum/AAA")
        self.write(Shadow(strategy="momentum", instrument="AAA", expects=expects, ts=0, who="test", **named))

    def fold(self) -> ControlFold:
        """What `control` says now."""
        fold = ControlFold()
        for record in self._broker.log(Partition("control", 0)).records:
            fold.apply(record.offset, decode("control", record.value))
        return fold

    def bus(self, client: str) -> Bus:
        """Another client's connection."""
        return self._broker.connect(client)

    async def settled(self) -> None:
        """Return when nothing moves any more."""
        await self._broker.settle()

    def said(self, topic: str, kind: type[T]) -> list[T]:
        """All messages of that kind on the topic so far."""
        messages = [decode(topic, record.value) for record in self._broker.log(Partition(topic, 0)).records]
        return [message for message in messages if isinstance(message, kind)]

    def show(self) -> int:
        """Show the policy what it answers otherwise; return the time of it."""
        now = self._clock.now_ns()
        self._turns.rotate()
        values = tuple(float(value) for value in self._turns[0])
        quote = Quote(instrument="AAA", ts_recv=now, bid=100.0, bid_size=5.0, ask=100.5, ask_size=5.0)
        self._append("market", b"AAA", encode(quote))
        self._append("market", b"AAA", encode(Observation(instrument="AAA", ts_recv=now, values=values)))
        return now

    async def trade(self) -> Order:
        """Return the order that follows what the policy is shown, filled."""
        now = self.show()
        offset, order = await self.next("orders", Order)
        report = ExecutionReport(
            exec_id=order.order_id,
            order_id=order.order_id,
            instrument="AAA",
            ts_event=now,
            side=order.side,
            strategy="momentum",
            bundle_id=order.bundle_id,
            status=ReportStatus.FILLED,
            report_seq=0,
            cumulative_quantity=order.quantity,
            average_price=100.0,
            cumulative_fee=0.0,
            leaves_quantity=0.0,
            order=OrderPosition(partition=0, offset=offset),
        )
        self._append("reports", b"AAA", encode(report))
        await self._broker.settle()
        return order

    async def next(self, topic: str, *kinds: type[T]) -> tuple[int, T]:
        """Wait for the next message of that kind, and skip others."""
        consumer = await self._broker.connect("observer").consumer()
        await consumer.assign({Partition(topic, 0): self._seen.get(topic, 0)})
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    for record in await consumer.poll(max_records=1, timeout_s=WAIT_S):
                        self._seen[topic] = record.offset + 1
                        message = decode(topic, record.value)
                        if isinstance(message, kinds):
                            return record.offset, message
        finally:
            await consumer.stop()

    def write(self, message: ControlMessage) -> int:
        return self._append("control", control_key(message).encode(), encode(message))

    def _append(self, topic: str, key: bytes, value: bytes) -> int:
        return self._broker.append(Partition(topic, 0), [NewRecord(key=key, value=value)])
