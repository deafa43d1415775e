"""The Risk agent on the in-memory bus, which can be stopped, killed and started again."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from agents.risk.agent import RiskAgent
from agents.risk.config import RiskConfig
from agents.risk.limits.file import Limits
from messages import (
    TOPICS,
    Alert,
    BusUnavailable,
    Halt,
    Heartbeat,
    NewRecord,
    Partition,
    Producer,
    Quote,
    Refused,
    Retryable,
    RiskSnapshot,
    VirtualClock,
    control_key,
    decode,
    encode,
)
from messages.bus.memory.broker import MemoryBroker, MemoryBus
from messages.bus.partitioner import partition_of
from messages.bus.reading import read_all
from messages.control import ControlMessage
from messages.control_fold import ControlFold
from messages.reports import OrderPosition
from messages.status import ClientState, ShardStatus
from tests.agents.risk.market import INSTRUMENTS, NOW, report

SHARDS = 2

LIMITS = Limits.convert({"portfolio": {"max_drawdown": 0.1, "max_daily_loss": 1e6}})


class MortalBus(MemoryBus):
    """A connection that is cut at a moment: what is written after it reaches nobody."""

    is_cut = False
    stalled: tuple[ClientState, ...] = ()

    def health(self) -> tuple[ClientState, ...]:
        return self.stalled

    async def producer(self) -> Producer:
        return _MortalProducer(self, await super().producer())


class _MortalProducer:
    def __init__(self, bus: MortalBus, real: Producer) -> None:
        self._bus, self._real = bus, real

    async def publish(self, topic: str, record: NewRecord, *, partition: int | None = None) -> int:
        if self._bus.is_cut:
            raise BusUnavailable(self._bus.url, "is cut")
        return await self._real.publish(topic, record, partition=partition)

    async def publish_batch(self, partition: Partition, records: Sequence[NewRecord]) -> int:
        return await self._real.publish_batch(partition, records)

    async def stop(self) -> None:
        await self._real.stop()


class World:
    """The bus, the Risk agent on it, and whoever else writes."""

    def __init__(self) -> None:
        self.clock = VirtualClock(NOW)
        self.broker = MemoryBroker(clock=self.clock)
        self.bus = self.broker.connect("test")
        self.risk: RiskAgent | None = None
        self._risk_bus = MortalBus(self.broker, "risk")
        self._running: asyncio.Task[None] | None = None
        self._orders = 0

    async def open(self) -> None:
        await self.bus.create_topics(TOPICS.values(), shards=SHARDS)

    async def start_risk(self, limits: Limits = LIMITS, config: RiskConfig = RiskConfig()) -> RiskAgent:  # noqa: B008 - frozen
        self._risk_bus = MortalBus(self.broker, "risk")
        self.risk = RiskAgent(
            config=config,
            bus=self._risk_bus,
            clock=self.clock,
            instruments=INSTRUMENTS,
            limits=limits,
            cash=1_000.0,
        )
        await self.risk.start()
        self._running = asyncio.create_task(self.risk.run())
        await self.broker.settle()
        return self.risk

    async def stop_risk(self) -> None:
        if self.risk is not None and self._running is not None:
            await self.risk.stop()
            await self._running
        self.risk = None

    async def kill_risk(self) -> None:
        """End it as SIGKILL does: nothing is written any more."""
        self._risk_bus.is_cut = True
        with suppress(Retryable):
            await self.stop_risk()
        self.risk = None

    def stall_risk(self) -> None:
        """Let its bus say that a consumer gets nothing any more."""
        self._risk_bus.stalled = (ClientState(name="consumer-1", kind="consumer", state="stalled"),)

    async def beat(self, **status: Any) -> None:
        """Execution says how a shard is; BTC's, unless told otherwise."""
        fields = {"partition": partition_of(b"BTC", SHARDS), "control_to": 0, "reports_to": 0, **status}
        beat = Heartbeat(
            agent_id="execution-1",
            agent="execution",
            ts=self.clock.now_ns(),
            state="live",
            shards=(ShardStatus(**fields),),
        )
        await self.publish("status", "execution-1/Heartbeat", beat)

    async def wait(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.clock.set(self.clock.now_ns() + 1_000_000_000)
            await self.broker.settle()

    async def fill(self, side: str, quantity: float, price: float, **changes: Any) -> None:
        self._orders += 1
        message = report(
            order_id=f"o{self._orders}",
            side=side,
            cumulative_quantity=quantity,
            average_price=price,
            order=OrderPosition(partition=0, offset=self._orders),
            **changes,
        )
        await self.publish("reports", message.instrument, message)

    async def quote(self, mid: float) -> None:
        message = Quote(
            instrument="BTC", ts_recv=self.clock.now_ns(), bid=mid - 0.5, bid_size=1, ask=mid + 0.5, ask_size=1
        )
        await self.publish("market", "BTC", message)
        self.clock.set(self.clock.now_ns() + RiskConfig().market_interval_ms * 1_000_000)
        await self.broker.settle()

    async def control(self, message: ControlMessage) -> int:
        return await self.publish("control", control_key(message), message)

    async def publish(self, topic: str, key: str, message: Struct) -> int:
        return await self.publish_bytes(topic, key, encode(message))

    async def publish_bytes(self, topic: str, key: str, value: bytes) -> int:
        producer = await self.bus.producer()
        offset = await producer.publish(topic, NewRecord(key=key.encode(), value=value))
        await self.broker.settle()
        return offset

    async def said(self, topic: str) -> list[Any]:
        """All messages of a topic that can be read."""
        return [message for _, message in await self._read(topic)]

    async def _read(self, topic: str) -> list[tuple[int, Any]]:
        records, _ = await read_all(self.bus, [topic])
        found = []
        for record in records:
            with suppress(Refused):
                found.append((record.offset, decode(topic, record.value)))
        return found

    async def halts(self) -> list[tuple[int, Halt]]:
        """All Halts, with their offsets."""
        return [(offset, message) for offset, message in await self._read("control") if isinstance(message, Halt)]

    async def fold(self) -> ControlFold:
        """What `control` says."""
        fold = ControlFold()
        for offset, message in await self._read("control"):
            fold.apply(offset, message)
        return fold

    async def snapshots(self) -> list[RiskSnapshot]:
        return [message for message in await self.said("risk") if isinstance(message, RiskSnapshot)]

    async def alerts(self) -> list[Alert]:
        return [message for message in await self.said("risk") if isinstance(message, Alert)]
