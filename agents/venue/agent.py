"""The paper venue: `orders` and `market` in, `reports` out."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from msgspec import Struct

from agents.lifecycle.dead_letters import dead_letters
from agents.lifecycle.status import beat, publish_at_last
from agents.lifecycle.supervisor import Supervisor
from agents.risk.instruments import Instrument
from agents.venue.ahead import read_ahead
from agents.venue.answered import Answered
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from agents.venue.intake import gap_alert
from agents.venue.latency import latency_of
from agents.venue.traces import Traces
from messages import (
    Adjust,
    Bar,
    Bus,
    Claim,
    Clock,
    Consumer,
    ExecutionReport,
    Heartbeat,
    NewRecord,
    Observation,
    Order,
    Partition,
    Producer,
    Quote,
    Record,
    Refused,
    Trade,
    UnknownMessage,
    decode,
    encode,
)
from messages.bus.reading import message_in, read_range
from messages.control import ControlMessage
from messages.control_fold import ControlFold
from messages.market import MarketMessage
from messages.orders import OrderMessage

_CONTROL = Partition("control", 0)
_REPORTS_PER_BATCH = 256
_IDLE_POLL_S = 30.0


class _Clients(Struct, frozen=True, kw_only=True):
    consumer: Consumer
    asker: Consumer  # of ends: on a connection where no fetch waits
    producer: Producer


class VenueAgent:
    """Owns all partitions; run one. A restart derives its reports anew and publishes those that are not there yet.

    After a Halt of level `halted` new orders are rejected, but for reduce-only ones while a Flatten is on. That is
    judged when the order is read: what was answered before stays answered.
    """

    def __init__(
        self,
        *,
        config: VenueConfig,
        bus: Bus,
        clock: Clock,
        instruments: Mapping[str, Instrument],
        agent_id: str = "venue-1",
    ) -> None:
        self._config, self._bus, self._clock, self._instruments = config, bus, clock, instruments
        self._agent_id = agent_id
        self._latency = latency_of(config)
        self._control = ControlFold()
        self._answered = Answered()
        self._traces = Traces()
        self._books: list[PaperBook] = []
        self._supervisor = Supervisor()
        self._clients: _Clients | None = None
        self._partitions = 0
        self._is_caught_up = False
        self._missing: dict[int, int] = {}
        self.published = 0

    @property
    def agent_id(self) -> str:
        return self._agent_id

    @property
    def books(self) -> Sequence[PaperBook]:
        """One book for each partition."""
        return self._books

    async def start(self) -> None:
        self._partitions = await self._bus.partition_count("orders")
        self._clients = _Clients(
            consumer=await self._bus.consumer(), asker=await self._bus.consumer(), producer=await self._bus.producer()
        )
        await self._begin(self._clients)
        self._supervisor.spawn(
            beat(self._bus, self._clients.producer, self._clock, self._heartbeat, self._config.heartbeat_interval_ms),
            f"{self._agent_id}-heartbeat",
        )

    async def run(self) -> None:
        if self._clients is not None:
            self._supervisor.keep(partial(self._work, self._clients), f"{self._agent_id}-match", self._clock)
        await self._supervisor.wait()

    async def stop(self) -> None:
        clients, self._clients = self._clients, None  # at once: a `run` that comes later must begin nothing
        await self._supervisor.stop()
        if clients is not None:
            await clients.consumer.stop()
            await clients.asker.stop()
            await clients.producer.stop()

    async def _work(self, clients: _Clients) -> None:
        """Match until the bus fails; begin as after a restart then: which reports are on the topic is unknown."""
        if not self._is_caught_up:
            await self._begin(clients)
        self._is_caught_up = False
        await self._match(clients)

    async def _begin(self, clients: _Clients) -> None:
        self._control, self._answered, self._missing = ControlFold(), Answered(), {}
        self._books = [
            PaperBook(number, self._config, self._instruments, refusal=self._refuse, latency=self._latency)
            for number in range(self._partitions)
        ]
        await clients.consumer.assign(await self._catch_up(clients))
        self._is_caught_up = True

    async def _catch_up(self, clients: _Clients) -> dict[Partition, int]:
        """Read `control`, `reports` and `orders` to their ends; return where live reading begins."""
        numbers = range(len(self._books))
        orders = [Partition("orders", number) for number in numbers]
        reports = [Partition("reports", number) for number in numbers]
        market = [Partition("market", number) for number in numbers]
        everything = [_CONTROL, *orders, *reports, *market]
        begins = await clients.consumer.beginning_offsets(everything)
        ends = await clients.consumer.end_offsets(everything)
        for record in await read_range(self._bus, {_CONTROL: (begins[_CONTROL], ends[_CONTROL])}):
            await self._fold(clients, record, is_new=False)
        said: defaultdict[int, list[ExecutionReport]] = defaultdict(list)
        for record in await read_range(self._bus, {p: (begins[p], ends[p]) for p in reports}):
            report = await self._read(clients, record, is_new=False)
            if isinstance(report, ExecutionReport):
                self._answered.note(report)
                said[record.partition].append(report)
        positions = {_CONTROL: ends[_CONTROL]}
        for number in numbers:
            self._books[number].recall(said[number], is_complete=begins[reports[number]] == 0)
            records = await read_range(self._bus, {orders[number]: (begins[orders[number]], ends[orders[number]])})
            messages = await self._read_orders(clients, records, is_new=False)
            # Back to where the oldest open order begins, and as far again: what others took from its quotes matters.
            first = min([ends[market[number]], *self._open_sources(messages)]) - self._config.remembered_records
            start = max(first, begins[market[number]])
            self._books[number].tape.start_at(start)
            positions |= {market[number]: start, orders[number]: ends[orders[number]]}
            await self._publish(clients, number, self._books[number].orders(messages))
        return positions

    def _open_sources(self, messages: Iterable[tuple[Record, OrderMessage]]) -> Iterator[int]:
        """Yield the sources of orders without a last report; void ones never get any."""
        epoch: int | None = None
        for record, message in messages:
            if isinstance(message, Claim):
                epoch = record.offset
                continue
            is_void = epoch is not None and message.epoch != epoch
            if isinstance(message, Order) and not is_void and not self._answered.is_final(message.order_id):
                yield message.source.offset

    async def _match(self, clients: _Clients) -> None:
        while True:
            records = await clients.consumer.poll(max_records=self._config.batch_records, timeout_s=_IDLE_POLL_S)
            await self._judge(clients, records + await self._orders_before(clients, records))

    async def _orders_before(self, clients: _Clients, records: Iterable[Record]) -> list[Record]:
        """Read what was ordered before these records came, where anything is open: however far we lag behind."""
        ordered = {record.partition for record in records if record.topic == "orders"}
        moved = {record.partition for record in records if record.topic == "market"}
        matter = ordered | {number for number in moved if self._books[number].open_orders}
        if not matter:
            return []
        ends = await clients.asker.end_offsets([Partition("orders", number) for number in sorted(matter)])
        return await read_ahead(clients.consumer, ends, [Partition("market", n) for n in range(len(self._books))])

    async def _judge(self, clients: _Clients, records: Iterable[Record]) -> None:
        orders: defaultdict[int, list[Record]] = defaultdict(list)
        market: defaultdict[int, list[Record]] = defaultdict(list)
        for record in records:
            if record.topic == "control":
                await self._fold(clients, record)
            else:
                (orders if record.topic == "orders" else market)[record.partition].append(record)
        reports: dict[int, list[ExecutionReport]] = {}
        for number in sorted(orders.keys() | market.keys()):
            book = self._books[number]
            # Orders before market: a cancel or an order must not be late because of us.
            reports[number] = book.orders(await self._read_orders(clients, orders[number]))
            for record in market[number]:
                reports[number] += book.market(record, _tick(record))
        await self._publish_all(clients, reports)
        for number in orders:
            await self._tell_gap(clients, number)

    async def _publish_all(self, clients: _Clients, reports: Mapping[int, list[ExecutionReport]]) -> None:
        """Publish to all partitions at the same time, in order within each; raise the first failure after all ended."""
        sends = [self._publish(clients, number, due) for number, due in reports.items() if due]
        for outcome in await asyncio.gather(*sends, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _publish(self, clients: _Clients, number: int, reports: Iterable[ExecutionReport]) -> None:
        traced = [(report, self._traces.headers_of(report)) for report in reports]
        due = [
            NewRecord(key=report.instrument.encode(), value=encode(report), headers=trace)
            for derived, trace in traced
            if (report := self._answered.to_publish(derived)) is not None
        ]
        for index in range(0, len(due), _REPORTS_PER_BATCH):
            batch = due[index : index + _REPORTS_PER_BATCH]
            await clients.producer.publish_batch(Partition("reports", number), batch)
            self.published += len(batch)

    async def _tell_gap(self, clients: _Clients, number: int) -> None:
        missing = self._books[number].missing_orders
        if missing > self._missing.get(number, 0):
            self._missing[number] = missing
            alert = gap_alert(number, missing, agent_id=self._agent_id, at_ns=self._clock.now_ns())
            record = NewRecord(key=alert.alert_id.encode(), value=encode(alert))
            await publish_at_last(clients.producer, self._clock, "risk", record)

    async def _read_orders(
        self, clients: _Clients, records: Iterable[Record], *, is_new: bool = True
    ) -> list[tuple[Record, OrderMessage]]:
        read = [(record, await self._read(clients, record, is_new=is_new)) for record in records]
        for record, message in read:
            if isinstance(message, Order):
                self._traces.note(record)
        return [(record, message) for record, message in read if isinstance(message, OrderMessage)]

    async def _fold(self, clients: _Clients, record: Record, *, is_new: bool = True) -> None:
        message = await self._read(clients, record, is_new=is_new)
        if isinstance(message, ControlMessage):
            self._control.apply(record.offset, message)
        if isinstance(message, Adjust) and (instrument := self._instruments.get(message.instrument or "")) is not None:
            for book in self._books:
                book.positions.adjust(instrument.instrument, instrument.lots(message.quantity) or 0)

    async def _read(self, clients: _Clients, record: Record, *, is_new: bool = True) -> object:
        """Return the message, or None when there is none to be read: new ones are then parked."""
        try:
            message: object = decode(record.topic, record.value, record.headers)
        except Refused as error:
            if is_new:
                now_ns = self._clock.now_ns()
                for letter in dead_letters(record, str(error), agent_id=self._agent_id, ts=now_ns):
                    await publish_at_last(clients.producer, self._clock, "dead-letters", letter)
            return None
        return None if isinstance(message, UnknownMessage) else message

    def _refuse(self, order: Order) -> str | None:
        if self._control.halts.level(order.strategy, order.instrument) != "halted" or order.order_id in self._answered:
            return None
        if order.reduce_only and self._control.is_flattening(order.strategy, order.instrument):
            return None
        return "trading is halted"

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            agent_id=self._agent_id,
            agent="venue",
            ts=self._clock.now_ns(),
            state="live",
            partitions=tuple(range(len(self._books))),
        )


def _tick(record: Record) -> MarketMessage | None:
    """Return the tick of a market record; Execution parks what can't be read."""
    message = message_in(record)
    return message if isinstance(message, Quote | Trade | Bar | Observation) else None
