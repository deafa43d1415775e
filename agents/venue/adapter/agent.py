"""The venue adapter's shell: reads `orders` and `control`, hands what counts to the courier.

It keeps nothing on disk. A start reads what was ordered and said; none of the orders found then is ever submitted: the
venue is asked what became of them.
"""

import asyncio
from collections.abc import Iterable
from functools import partial

from msgspec import Struct

from agents.lifecycle.dead_letters import dead_letters
from agents.lifecycle.status import beat, publish_at_last
from agents.lifecycle.supervisor import Supervisor
from agents.venue.adapter.config import AdapterConfig
from agents.venue.adapter.courier import Courier
from agents.venue.adapter.orders import Orders
from agents.venue.adapter.venue import Venue
from agents.venue.intake import Intake, gap_alert
from messages import (
    Bus,
    Claim,
    Clock,
    Consumer,
    ExecutionReport,
    Heartbeat,
    NewRecord,
    Partition,
    Producer,
    Record,
    Refused,
    decode,
    encode,
)
from messages.bus.reading import message_in, read_range
from messages.control import ControlMessage
from messages.control_fold import ControlFold
from messages.orders import OrderMessage

_CONTROL = Partition("control", 0)
_IDLE_S = 5.0
_HOUR_MS = 3_600_000


class _Clients(Struct, frozen=True, kw_only=True):
    orders: Consumer
    control: Consumer  # of its own: a Halt waits for nothing
    producer: Producer
    courier: Courier


class AdapterAgent:
    """Stands between the topics and one venue; run one for each. All partitions are its own."""

    def __init__(
        self, *, config: AdapterConfig, bus: Bus, clock: Clock, venue: Venue, agent_id: str = "adapter-1"
    ) -> None:
        self._config, self._bus, self._clock, self._venue = config, bus, clock, venue
        self._agent_id = agent_id
        self._control = ControlFold()
        self._orders = Orders(config.finished_orders)
        self._intakes: list[Intake] = []
        self._missing: dict[int, int] = {}
        self._supervisor = Supervisor()
        self._clients: _Clients | None = None

    @property
    def agent_id(self) -> str:
        return self._agent_id

    async def start(self) -> None:
        partitions = await self._bus.partition_count("orders")
        self._intakes = [Intake() for _ in range(partitions)]
        producer = await self._bus.producer()
        courier = Courier(
            config=self._config,
            venue=self._venue,
            clock=self._clock,
            producer=producer,
            control=self._control,
            orders=self._orders,
            partitions=partitions,
        )
        self._clients = clients = _Clients(
            orders=await self._bus.consumer(), control=await self._bus.consumer(), producer=producer, courier=courier
        )
        positions = await self._catch_up(clients)
        await clients.control.assign({_CONTROL: positions.pop(_CONTROL)})
        await clients.orders.assign(positions)
        self._spawn(clients)

    def _spawn(self, clients: _Clients) -> None:
        beats = beat(self._bus, clients.producer, self._clock, self._heartbeat, self._config.heartbeat_interval_ms)
        self._supervisor.spawn(beats, f"{self._agent_id}-heartbeat")
        for number in range(len(self._intakes)):
            self._supervisor.spawn(clients.courier.submit_all(number), f"{self._agent_id}-orders-{number}")
            self._supervisor.spawn(clients.courier.cancel_all(number), f"{self._agent_id}-cancels-{number}")
        for consumer in (clients.control, clients.orders):
            self._supervisor.keep(partial(self._read, clients, consumer), f"{self._agent_id}-read", self._clock)
        self._supervisor.keep(clients.courier.hear, f"{self._agent_id}-hear", self._clock)
        self._supervisor.keep(clients.courier.settle, f"{self._agent_id}-settle", self._clock)

    async def run(self) -> None:
        await self._supervisor.wait()

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._clients is not None:
            clients, self._clients = self._clients, None
            await clients.orders.stop()
            await clients.control.stop()
            await clients.producer.stop()
            async with asyncio.timeout(self._config.venue_timeout_s):
                await self._venue.close()

    async def _catch_up(self, clients: _Clients) -> dict[Partition, int]:
        """Take in `control`, and what of `reports` and `orders` is young enough; return where live reading begins."""
        orders = [Partition("orders", number) for number in range(len(self._intakes))]
        reports = [Partition("reports", number) for number in range(len(self._intakes))]
        since_ms = self._clock.now_ns() // 1_000_000 - self._config.look_back_hours * _HOUR_MS
        begins = {_CONTROL: 0} | await clients.orders.offsets_at([*orders, *reports], since_ms)
        ends = await clients.orders.end_offsets([_CONTROL, *orders, *reports])

        async def read(partitions: Iterable[Partition]) -> list[tuple[Record, object]]:
            ranges = {partition: (begins[partition], ends[partition]) for partition in partitions}
            return [(record, message_in(record)) for record in await read_range(self._bus, ranges)]

        for record, message in await read([_CONTROL]):
            if isinstance(message, ControlMessage):
                self._control.apply(record.offset, message)
        taken = [
            (record, message)
            for record, message in await read(orders)
            if isinstance(message, OrderMessage) and self._intakes[record.partition].takes(record, message)
        ]
        said = [message for _, message in await read(reports) if isinstance(message, ExecutionReport)]
        self._orders.recall(taken, said, self._clock.now_ns())
        return {partition: ends[partition] for partition in (_CONTROL, *orders)}

    async def _read(self, clients: _Clients, consumer: Consumer) -> None:
        while True:
            for record in await consumer.poll(timeout_s=_IDLE_S):
                await self._take(clients, record)

    async def _take(self, clients: _Clients, record: Record) -> None:
        try:
            message: object = decode(record.topic, record.value, record.headers)
        except Refused as error:
            letters = dead_letters(record, str(error), agent_id=self._agent_id, ts=self._clock.now_ns())
            for letter in letters:
                await publish_at_last(clients.producer, self._clock, "dead-letters", letter)
            return
        if isinstance(message, ControlMessage):
            self._control.apply(record.offset, message)
        elif isinstance(message, OrderMessage):
            if self._intakes[record.partition].takes(record, message) and not isinstance(message, Claim):
                await clients.courier.take(record, message)
            await self._tell_gap(clients, record.partition)

    async def _tell_gap(self, clients: _Clients, partition: int) -> None:
        missing = self._intakes[partition].missing
        if missing > self._missing.get(partition, 0):
            self._missing[partition] = missing
            alert = gap_alert(partition, missing, agent_id=self._agent_id, at_ns=self._clock.now_ns())
            record = NewRecord(key=alert.alert_id.encode(), value=encode(alert))
            await publish_at_last(clients.producer, self._clock, "risk", record)

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            agent_id=self._agent_id,
            agent="venue",
            ts=self._clock.now_ns(),
            state="live",
            partitions=tuple(range(len(self._intakes))),
        )
