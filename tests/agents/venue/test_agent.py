"""The venue agent on the in-memory bus: answers in the order's partition, and loses or doubles nothing by a restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agents.venue.agent import VenueAgent
from agents.venue.config import VenueConfig
from messages import (
    TOPICS,
    BusUnavailable,
    Claim,
    ExecutionReport,
    Fatal,
    Flatten,
    Halt,
    Heartbeat,
    NewRecord,
    TickpilotError,
    VirtualClock,
    control_key,
    decode,
    encode,
)
from messages.bus.memory.broker import Faults, MemoryBroker
from messages.bus.partitioner import partition_of
from messages.bus.reading import read_all
from messages.control import ControlMessage
from messages.market import MarketMessage
from messages.orders import OrderMessage, Source
from tests.agents.venue.market import INSTRUMENTS, MS, cancel, order, quote

SHARDS = 2
HOME = partition_of(b"BTC", SHARDS)
START = 1_700_000_000_000


class World:
    """A broker on a virtual clock, and one venue at a time."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.clock = VirtualClock(START * MS)
        self.broker = MemoryBroker(clock=self.clock, faults=faults)
        self.bus = self.broker.connect("test")
        self.venue: VenueAgent | None = None
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.bus.create_topics(TOPICS.values(), shards=SHARDS)

    async def start_venue(self) -> None:
        self.venue = VenueAgent(
            config=VenueConfig(latency_ns=5 * MS, batch_records=4),  # backlogs take several readings
            bus=self.broker.connect("venue"),
            clock=self.clock,
            instruments=INSTRUMENTS,
        )
        await self.venue.start()
        self._running = asyncio.create_task(self.venue.run())
        await self.broker.settle()

    async def stop_venue(self) -> None:
        if self.venue is not None and self._running is not None:
            await self.venue.stop()
            await self._running
        self.venue = None

    async def keep_up(self) -> None:
        """Start the venue, again where it has died."""
        if self.venue is not None and (self._running is None or self._running.done()):
            running = [] if self._running is None else [self._running]
            await asyncio.gather(self.venue.stop(), *running, return_exceptions=True)
            self.venue = self._running = None
        if self.venue is None:
            with contextlib.suppress(BusUnavailable, Fatal):
                await self.start_venue()

    async def tick(self, at_ms: int, message: MarketMessage) -> int:
        self.clock.set((START + at_ms) * MS)
        await self.broker.settle()
        return await self.publish("market", message.instrument, encode(message))

    async def order(self, message: OrderMessage) -> int:
        return await self.publish("orders", "BTC", encode(message))

    async def control(self, message: ControlMessage) -> int:
        return await self.publish("control", control_key(message), encode(message), partition=0)

    async def publish(self, topic: str, key: str, value: bytes, *, partition: int | None = None) -> int:
        producer = await self.bus.producer()
        offset = await producer.publish(topic, NewRecord(key=key.encode(), value=value), partition=partition)
        await self.broker.settle()
        return offset

    async def reports(self) -> list[ExecutionReport]:
        records, _ = await read_all(self.bus, ["reports"])
        assert {record.partition for record in records} <= {HOME}
        return [decode("reports", record.value) for record in records]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.stop_venue()


def at_home(at: int) -> dict[str, object]:
    return {"source": Source(topic="market", partition=HOME, offset=at), "ts_decided": START * MS}


def quoted(at_ms: int, bid: float = 99, ask: float = 101, size: float = 10) -> MarketMessage:
    return quote(START + at_ms, bid=bid, ask=ask, size=size)


async def test_an_order_is_answered_in_the_partition_of_its_record(world: World) -> None:
    await world.start_venue()
    await world.order(Claim(owner="e"))
    await world.tick(0, quoted(0))
    offset = await world.order(order(0, 0, **at_home(0)))
    assert await world.reports() == []
    await world.tick(6, quoted(6, ask=102))
    (report,) = await world.reports()
    assert (report.status, report.last_price) == ("filled", 102.0)
    assert (report.order.partition, report.order.offset) == (HOME, offset)


async def test_the_venue_shows_a_heartbeat_and_parks_what_it_cannot_read(world: World) -> None:
    await world.start_venue()
    await world.publish("orders", "BTC", b"{broken")
    letters, _ = await read_all(world.bus, ["dead-letters"])
    assert [decode("dead-letters", letter.value).value for letter in letters] == [b"{broken"]
    beats, _ = await read_all(world.bus, ["status"])
    beat = decode("status", beats[-1].value)
    assert isinstance(beat, Heartbeat)
    assert beat.agent == "venue"


def story(world: World) -> list[Callable[[], Awaitable[int]]]:
    resting = order(1, 1, limit_price=99.0, time_in_force="GTC", quantity=8.0, **at_home(1))
    return [
        lambda: world.order(Claim(owner="e")),
        lambda: world.tick(0, quoted(0)),
        lambda: world.order(order(0, 0, quantity=15.0, **at_home(0))),
        lambda: world.tick(6, quoted(6)),
        lambda: world.order(resting),
        lambda: world.tick(12, quoted(12, bid=99, ask=101)),
        lambda: world.tick(13, quoted(13, bid=90, ask=98, size=5)),
        lambda: world.order(cancel(2, "o1")),
        lambda: world.tick(30, quoted(30, bid=90, ask=97)),
    ]


TOLD = [
    ("o0", 0, "partially_filled", 10.0),
    ("o0", 1, "expired", 10.0),
    ("o1", 0, "new", 0.0),
    ("o1", 1, "partially_filled", 5.0),
    ("o1", 2, "canceled", 5.0),
]


def told(reports: list[ExecutionReport]) -> list[tuple[str, int, str, float]]:
    return [(r.order_id, r.report_seq, r.status.value, r.cumulative_quantity) for r in reports]


@pytest.mark.parametrize("cut", range(9))
async def test_a_restart_at_any_point_loses_and_doubles_nothing(world: World, cut: int) -> None:
    chapters = story(world)
    await world.start_venue()
    for index, chapter in enumerate(chapters):
        if index == cut:
            await world.stop_venue()
        if index == cut + 1:
            await world.start_venue()
        await chapter()
    if cut == len(chapters) - 1:
        await world.start_venue()
    assert told(await world.reports()) == TOLD


class KillAt:
    """These operations of the venue on the bus fail, before the effect or with it but unacknowledged.

    It dies of a Fatal error, and begins anew in the same process when the bus was away.
    """

    def __init__(self, numbers: list[int], moment: str, error: TickpilotError) -> None:
        self._numbers, self._moment, self._error = numbers, moment, error
        self._number = -1
        self.deaths = 0

    async def before(self, client: str, operation: str) -> None:
        if client == "venue" and operation != "append status":
            self._number += 1
            self._strike("before")

    async def after(self, client: str, operation: str) -> None:
        if client == "venue" and operation != "append status":
            self._strike("after")

    def _strike(self, moment: str) -> None:
        # Not every operation has both moments.
        if moment == self._moment and self._numbers and self._number >= self._numbers[0]:
            del self._numbers[0]
            self.deaths += 1
            raise self._error


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("distance", [1, 2, 4])
@pytest.mark.parametrize("error", [Fatal("killed"), BusUnavailable("memory://", "away")], ids=["killed", "away"])
async def test_two_failures_at_any_calls_of_the_bus_lose_and_double_nothing(
    moment: str, distance: int, error: TickpilotError
) -> None:
    number = 0
    while True:
        kill = KillAt([number, number + distance], moment, error)
        world = World(kill)
        await world.open()
        for chapter in story(world):
            await world.keep_up()
            await chapter()
        for seconds in range(1, 8):
            await world.keep_up()
            world.clock.set((START + 1_000 * seconds) * MS)
            await world.broker.settle()
        assert told(await world.reports()) == TOLD, f"killed {moment} operation {number}"
        await world.stop_venue()
        if kill.deaths == 0:
            break
        number += 1
    assert number > len(TOLD)


class Freeze:
    """The venue stands still at its next reading until it is let go; nothing fails."""

    def __init__(self) -> None:
        self.is_frozen = False
        self._thawed = asyncio.Event()

    async def before(self, client: str, operation: str) -> None: ...

    async def after(self, client: str, operation: str) -> None:
        if client == "venue" and operation == "poll" and self.is_frozen:
            await self._thawed.wait()

    def thaw(self) -> None:
        self.is_frozen = False
        self._thawed.set()


@pytest.mark.parametrize("seen_before", range(1, 6))
async def test_a_venue_that_lags_knows_a_cancel_before_it_looks_at_what_came_after_it(seen_before: int) -> None:
    freeze = Freeze()
    world = World(freeze)
    await world.open()
    await world.start_venue()
    await world.order(Claim(owner="e"))
    for at_ms in range(seen_before):  # which partition is read first is another each time
        await world.tick(at_ms, quoted(at_ms))
    resting = {"limit_price": 99.0, "time_in_force": "GTC", "quantity": 8.0}
    await world.order(order(0, 0, **resting, **at_home(0)))
    await world.tick(10, quoted(10))
    freeze.is_frozen = True
    await world.tick(11, quoted(11))
    await world.order(cancel(1, "o0"))
    await world.tick(17, quoted(17))  # here it takes effect
    for at_ms in range(18, 40):
        await world.tick(at_ms, quoted(at_ms, bid=80, ask=90))  # all of these would fill the order
    freeze.thaw()
    await world.broker.settle()
    assert told(await world.reports()) == [("o0", 0, "new", 0.0), ("o0", 1, "canceled", 0.0)]
    await world.stop_venue()


async def test_a_restart_with_nothing_new_says_nothing(world: World) -> None:
    await world.start_venue()
    await world.tick(0, quoted(0))
    await world.order(order(0, 0, **at_home(0)))
    await world.tick(6, quoted(6))
    before = await world.reports()
    for _ in range(3):
        await world.stop_venue()
        await world.start_venue()
    assert await world.reports() == before
    assert len(before) == 1


async def test_after_a_halt_new_orders_are_rejected_but_flattening_ones_pass(world: World) -> None:
    await world.start_venue()
    await world.tick(0, quoted(0))
    await world.order(order(0, 0, **at_home(0)))
    await world.tick(6, quoted(6))
    await world.control(Halt(scope="portfolio", level="halted", writer="ann", reason="r", ts=0))
    await world.order(order(1, 1, **at_home(1)))
    await world.order(order(2, 1, reduce_only=True, side="sell", **at_home(1)))
    await world.control(Flatten(scope="portfolio", on=True, who="ann", reason="r", ts=0))
    await world.order(order(3, 1, reduce_only=True, side="sell", **at_home(1)))
    await world.tick(12, quoted(12))
    reports = await world.reports()
    assert [(r.order_id, r.status.value) for r in reports] == [
        ("o0", "filled"),
        ("o1", "rejected"),
        ("o2", "rejected"),
        ("o3", "filled"),
    ]


async def test_bad_market_records_are_passed_over(world: World) -> None:
    await world.start_venue()
    await world.tick(0, quoted(0))
    await world.publish("market", "BTC", b"{broken")
    await world.order(order(0, 0, **at_home(0)))
    await world.order(order(1, 1, **at_home(1)))
    await world.tick(6, quoted(6))
    assert [(r.order_id, r.status.value) for r in await world.reports()] == [("o1", "rejected"), ("o0", "filled")]
