"""Execution and Risk together: an order that the shard's share denies passes when Risk has moved the share."""

import asyncio
from contextlib import suppress
from typing import TypeVar

from agents.execution.agent import ExecutionAgent
from agents.execution.config import ExecutionConfig
from agents.execution.scope import Scope
from agents.risk.agent import RiskAgent
from agents.risk.config import RiskConfig, ShareConfig
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits as LimitsFile
from bundles.verifier import Verifier
from messages import (
    TOPICS,
    DecisionBatch,
    Limits,
    NewRecord,
    Order,
    Override,
    Partition,
    Quote,
    SystemClock,
    decode,
    encode,
)
from messages.bus.memory.broker import MemoryBroker
from messages.bus.partitioner import partition_of
from messages.control import ControlMessage, LogStarted, control_key

NAMES = ("BTC", "ETH")  # of two shards
INSTRUMENTS = {name: Instrument(instrument=name, price_step=0.5, quantity_step=1.0) for name in NAMES}
LIMITS = LimitsFile.convert({"portfolio": {"max_gross_exposure": 1_000.0}})
WAIT_S = 60.0
T = TypeVar("T")


class Cluster:
    """One replica with two shards and the Risk agent, on the bus in memory."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.broker = MemoryBroker(clock=self.clock)
        config = ExecutionConfig(flush_interval_ms=5, heartbeat_interval_ms=50)
        scope = Scope(
            instruments=INSTRUMENTS,
            strategies=dict.fromkeys(NAMES, "s"),
            limits=LIMITS,
            trust=None,
            allow_unsigned=True,
        )
        self.execution = ExecutionAgent(
            config=config, scope=scope, bus=self.broker.connect("execution"), clock=self.clock, verifier=Verifier()
        )
        self.risk = RiskAgent(
            config=RiskConfig(snapshot_interval_ms=20, heartbeat_interval_ms=50, shares=ShareConfig(interval_ms=100)),
            bus=self.broker.connect("risk"),
            clock=self.clock,
            instruments=INSTRUMENTS,
            limits=LIMITS,
            cash=10_000.0,
        )
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.broker.connect("operator").create_topics(TOPICS.values(), shards=len(NAMES))
        self.control(LogStarted(log_id="L"))
        for agent in (self.risk, self.execution):
            await agent.start()
            self._running.append(asyncio.create_task(agent.run()))

    async def stop(self) -> None:
        for agent in (self.execution, self.risk):
            await agent.stop()
        for task in self._running:
            with suppress(asyncio.CancelledError):
                await task

    def control(self, message: ControlMessage) -> None:
        self._append("control", 0, control_key(message), encode(message))

    def want(self, instrument: str, units: float) -> None:
        """A person asks for a position; no bundle is needed for that."""
        self.control(
            Override(strategy="s", instrument=instrument, expects=-1, who="ann", reason="r", ts=0, target=units)
        )

    def quote(self) -> None:
        for name in NAMES:
            tick = Quote(instrument=name, ts_recv=self.clock.now_ns(), bid=100.0, bid_size=9, ask=100.5, ask_size=9)
            self._append("market", partition_of(name.encode(), len(NAMES)), name, encode(tick))

    def _append(self, topic: str, partition: int, key: str, value: bytes) -> None:
        self.broker.append(Partition(topic, partition), [NewRecord(key=key.encode(), value=value)])

    def said(self, topic: str, kind: type[T], partitions: int = len(NAMES)) -> list[T]:
        found = list[T]()
        for number in range(partitions):
            for record in self.broker.log(Partition(topic, number)).records:
                message = decode(topic, record.value)
                if isinstance(message, kind):
                    found.append(message)
        return found

    async def order(self) -> Order:
        """Show quotes until an order goes out."""
        async with asyncio.timeout(WAIT_S):
            while not (orders := self.said("orders", Order)):
                self.quote()
                await self.clock.sleep(0.02)
        return orders[0]


async def test_an_order_beyond_the_share_passes_when_risk_has_moved_what_another_shard_does_not_use() -> None:
    cluster = Cluster()
    await cluster.start()
    cluster.want("BTC", 8.0)
    order = await cluster.order()
    assert (order.instrument, order.quantity) == ("BTC", 8.0)
    shrink, grow = cluster.said("control", Limits, 1)[:2]
    btc, eth = (partition_of(name.encode(), len(NAMES)) for name in NAMES)
    assert shrink.changes == {f"shares.{eth}.gross": 0.125}
    assert grow.changes == {f"shares.{btc}.gross": 0.875}
    denials = [
        str(decision.denial)
        for batch in cluster.said("decisions", DecisionBatch)
        for step in batch.steps
        for decision in step.decisions
        if decision.denial is not None
    ]
    assert "MAX_GROSS_EXPOSURE share=500 resulting=804" in denials
    await cluster.stop()
