"""The cases' side: writes `orders` as an owner of a shard does, shows a market, reads what is answered."""

from collections.abc import Callable
from itertools import count
from typing import Any, Self, TypeVar

import msgspec

from agents.venue.conformance.contract import NotConforming, VenueUnderTest
from agents.venue.conformance.promises import broken_promises
from messages import (
    Cancel,
    Claim,
    Consumer,
    ExecutionReport,
    NewRecord,
    Order,
    Partition,
    Producer,
    Quote,
    Record,
    ReportStatus,
    UnknownMessage,
    control_key,
    decode,
    encode,
)
from messages.bus.partitioner import partition_of
from messages.bus.reading import read_all
from messages.control import ControlMessage
from messages.orders import Source

T = TypeVar("T")
MID, HALF_SPREAD, SIZE = 1_000, 2, 50  # price steps, price steps, quantity steps
_POLL_S = 0.02
_SLACK = 1e-9
_LISTENED_TO = ("reports", "dead-letters", "risk")


class Desk:
    """Owns the partition of the venue's instrument. Prices are given in price steps, quantities in quantity steps."""

    def __init__(self, venue: VenueUnderTest, producer: Producer, consumer: Consumer, shards: int) -> None:
        self._venue, self._producer, self._consumer = venue, producer, consumer
        self.name = venue.instrument.instrument
        self.home = partition_of(self.name.encode(), shards)
        # An instrument that nobody trades, whose key belongs to another partition than its orders are put into.
        self.stranger = next(
            n for i in count() if partition_of((n := f"none-{i}").encode(), shards) != self.home or shards == 1
        )
        self.patience_s = 20.0
        self.epoch = 0
        self.next_seq = 0
        self.reports: list[ExecutionReport] = []
        self.records: list[Record] = []
        self._ids = count()
        self._market = Quote(instrument=self.name, ts_recv=0, bid=0.0, bid_size=0.0, ask=0.0, ask_size=0.0)
        self._source = Source(topic="market", partition=self.home, offset=0)

    @classmethod
    async def open(cls, venue: VenueUnderTest, *, patience_s: float) -> Self:
        """Return a desk that owns its partition, in front of a market that stands. Answers are read from now on."""
        bus = venue.bus
        producer, consumer = await bus.producer(), await bus.consumer()
        shards = await bus.partition_count("orders")
        desk = cls(venue, producer, consumer, shards)
        desk.patience_s = patience_s
        partitions = [Partition(name, n) for name in _LISTENED_TO for n in range(await bus.partition_count(name))]
        await consumer.assign(await consumer.end_offsets(partitions))
        await desk.claim()
        await desk.show(MID - HALF_SPREAD, MID + HALF_SPREAD)
        return desk

    async def close(self) -> None:
        """Close the clients."""
        await self._consumer.stop()
        await self._producer.stop()

    # What Execution does

    async def claim(self) -> int:
        """Append a Claim; orders carry its epoch from now on. Return the epoch before."""
        before = self.epoch
        self.epoch = await self.append(Claim(owner="conformance"))
        return before

    async def order(self, side: str = "buy", quantity: int = 1, limit: int | None = None, **changes: Any) -> Order:
        """Send an order and return it: IOC at the market, or at a limit; GTC when `time_in_force` says so."""
        order = self.new_order(side, quantity, limit, **changes)
        await self.append(order)
        return order

    def new_order(self, side: str = "buy", quantity: int = 1, limit: int | None = None, **changes: Any) -> Order:
        """Return the next order without sending it."""
        instrument = self._venue.instrument
        fields: dict[str, Any] = {
            "order_id": self.new_id(),
            "seq": self._take_seq(),
            "epoch": self.epoch,
            "instrument": self.name,
            "side": side,
            "quantity": instrument.quantity(quantity),
            "order_type": "market" if limit is None else "limit",
            "limit_price": None if limit is None else instrument.price(limit),
            "time_in_force": "IOC",
            "strategy": "conformance",
            "bundle_id": "bundle",
            "source": self._source,
            "ts_decided": self._venue.clock.now_ns(),
        }
        return Order(**(fields | changes))

    async def cancel(self, order: Order) -> None:
        """Send a cancel."""
        seq = self._take_seq()
        await self.append(
            Cancel(
                cancel_id=f"{order.order_id}-C{seq}",
                seq=seq,
                epoch=self.epoch,
                order_id=order.order_id,
                instrument=order.instrument,
                reason="conformance",
            )
        )

    async def append(self, *messages: msgspec.Struct) -> int:
        """Append messages to `orders` as one batch; return the offset of the first."""
        return await self.append_raw(*map(encode, messages))

    async def append_raw(self, *values: bytes) -> int:
        """Append bytes to `orders` as one batch; return the offset of the first."""
        records = [NewRecord(key=self.name.encode(), value=value) for value in values]
        return await self._producer.publish_batch(Partition("orders", self.home), records)

    async def control(self, message: ControlMessage) -> int:
        """Write a record of `control` and return its offset."""
        record = NewRecord(key=control_key(message).encode(), value=encode(message))
        return await self._producer.publish("control", record, partition=0)

    async def show(self, bid: int, ask: int, size: int = SIZE) -> None:
        """Let the market be this from now on."""
        instrument = self._venue.instrument
        lots = instrument.quantity(size)
        self._market = msgspec.structs.replace(
            self._market, bid=instrument.price(bid), ask=instrument.price(ask), bid_size=lots, ask_size=lots
        )
        await self._tick()

    def new_id(self) -> str:
        """Return an order id that was never there."""
        return f"conformance-{self._venue.clock.now_ns()}-{next(self._ids)}"

    def _take_seq(self) -> int:
        self.next_seq += 1
        return self.next_seq - 1

    # What is answered

    async def until(self, happened: Callable[[], T | None], what: str) -> T:
        """Let time pass until `happened` returns something, and return that. Raises NotConforming."""
        clock, bound_ns = self._venue.clock, self.patience_s * 1e9
        began_ns = clock.perf_ns()
        while (found := happened()) is None or found is False:
            if clock.perf_ns() - began_ns > bound_ns:
                raise NotConforming(f"no sign of {what} within {self.patience_s:g} s; {self._seen()}")
            await self._tick()
            await self.listen(_POLL_S)
        return found

    async def ended(self, order: Order) -> list[ExecutionReport]:
        """Wait for the order's last report; return all its reports."""

        def look() -> list[ExecutionReport] | None:
            said = self.said(order)
            return said if any(report.status.is_final for report in said) else None

        return await self.until(look, f"a last report of {order.order_id}")

    async def rests(self, order: Order) -> None:
        """Wait until the order rests, filled in part or not."""
        await self.until(lambda: bool(self.said(order)), f"a first report of {order.order_id}")
        self.require(not self.said(order)[-1].status.is_final, f"{order.order_id} rests; {self._seen()}")

    async def heard(self, order: Order, status: ReportStatus) -> ExecutionReport:
        """Wait for a report with that status and return it."""

        def look() -> ExecutionReport | None:
            return next((report for report in self.said(order) if report.status is status), None)

        return await self.until(look, f"{status} for {order.order_id}")

    async def barrier(self) -> Order:
        """Return when the venue has read all that was sent: an order that can only be refused was."""
        order = await self.order(instrument=self.stranger)
        await self.ended(order)
        return order

    async def messages(self, topic: str) -> list[Any]:
        """Return what was written to `dead-letters` or `risk` since the desk was opened."""
        await self.listen(_POLL_S)
        found = [decode(record.topic, record.value, record.headers) for record in self.records if record.topic == topic]
        return [message for message in found if not isinstance(message, UnknownMessage)]

    def said(self, order: Order) -> list[ExecutionReport]:
        """Return the reports of an order so far."""
        return [report for report in self.reports if report.order_id == order.order_id]

    def filled(self, *orders: Order) -> float:
        """Return the quantity (units) that reports say was filled of these orders."""
        return sum(max((report.cumulative_quantity for report in self.said(order)), default=0.0) for order in orders)

    async def check_position(self) -> None:
        """Require that the venue has traded what its reports say, no more and no less."""
        at_venue = await self._venue.position()
        if at_venue is None:
            return
        held: dict[str, float] = {}
        for report in self.reports:
            filled = max(abs(held.get(report.order_id, 0.0)), report.cumulative_quantity)
            held[report.order_id] = filled if report.side == "buy" else -filled
        told = sum(held.values())
        self.require(abs(at_venue - told) < _SLACK, f"the venue holds {at_venue:g}, its reports add up to {told:g}")

    def require(self, holds: bool, what: str) -> None:
        """Raise NotConforming unless it holds."""
        if not holds:
            raise NotConforming(what)

    async def check_promises(self) -> None:
        """Read both topics whole and look at everything that was said. Raises NotConforming."""
        orders, _ = await read_all(self._venue.bus, ["orders"])
        reports, _ = await read_all(self._venue.bus, ["reports"])
        if wrong := broken_promises(orders, reports):
            raise NotConforming("; ".join(wrong[:5]))

    def _seen(self) -> str:
        newest = [f"{r.order_id[-3:]} {r.report_seq} {r.status} {r.cumulative_quantity:g}" for r in self.reports[-8:]]
        return f"seen last: {', '.join(newest) or 'no report'}"

    async def listen(self, timeout_s: float) -> None:
        """Take in what has been answered; wait at most so long for the first of it."""
        for record in await self._consumer.poll(timeout_s=timeout_s):
            self.records.append(record)
            if record.topic == "reports":
                report = decode(record.topic, record.value, record.headers)
                if isinstance(report, ExecutionReport):
                    self.reports.append(report)

    async def _tick(self) -> None:
        """The market says again what it is: for a paper venue, time passes."""
        quote = msgspec.structs.replace(self._market, ts_recv=self._venue.clock.now_ns())
        record = NewRecord(key=self.name.encode(), value=encode(quote))
        offset = await self._producer.publish("market", record, partition=self.home)
        self._source = Source(topic="market", partition=self.home, offset=offset)
        await self._venue.show(quote)
