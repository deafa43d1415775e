import asyncio
from collections.abc import Iterator, Sequence

import pytest

from agents.feed.agent import FeedAgent
from agents.feed.config import FeedConfig
from agents.feed.synthetic import SyntheticConfig, SyntheticSource
from messages import TOPICS, BusTimeout, Partition, Quote, Refused, TickpilotError, VirtualClock, decode
from messages.bus.memory.broker import MemoryBroker, NoFaults
from messages.bus.partitioner import partition_of
from messages.market import MarketMessage

SHARDS = 2


class ListSource:
    def __init__(self, messages: Sequence[MarketMessage]) -> None:
        self._messages = list(messages)

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(message.instrument for message in self._messages))

    @property
    def count(self) -> int | None:
        return len(self._messages)

    def __iter__(self) -> Iterator[MarketMessage]:
        return iter(self._messages)


def quote(ts_recv: int, instrument: str = "A") -> Quote:
    return Quote(instrument=instrument, ts_recv=ts_recv, bid=1.0, bid_size=1.0, ask=2.0, ask_size=1.0)


async def cluster(broker: MemoryBroker) -> None:
    await broker.connect().create_topics(TOPICS.values(), shards=SHARDS)


def market(broker: MemoryBroker) -> list[list[MarketMessage]]:
    logs = [broker.log(Partition("market", number)).records for number in range(SHARDS)]
    return [[decode("market", record.value) for record in log] for log in logs]


async def test_every_message_arrives_in_order_in_the_partition_of_its_key() -> None:
    broker = MemoryBroker()
    await cluster(broker)
    source = SyntheticSource(SyntheticConfig(ticks=5_000))
    feed = FeedAgent(config=FeedConfig(), source=source, bus=broker.connect(), clock=broker.clock)
    await feed.start()
    await asyncio.wait_for(feed.run(), 20)
    await feed.stop()

    expected: list[list[MarketMessage]] = [[], []]
    for message in source:
        expected[partition_of(message.instrument.encode(), SHARDS)].append(message)
    assert market(broker) == expected
    assert feed.published == 5_000 == feed.counts["Quote"] + feed.counts["Trade"]
    keys = {record.key for record in broker.log(Partition("market", 0)).records}
    assert keys <= {b"SYN-A", b"SYN-B", b"SYN-C"}


async def test_on_a_virtual_clock_records_are_stamped_with_their_own_time_and_sleepers_wake_between_them() -> None:
    clock = VirtualClock(1_000_000_000)
    broker = MemoryBroker(clock=clock)
    await cluster(broker)
    woken: list[tuple[int, int]] = []

    async def sleeper() -> None:
        while True:
            await clock.sleep(0.3)
            woken.append((clock.now_ns(), len(market(broker)[0]) + len(market(broker)[1])))

    source = ListSource([quote(2_000_000_000), quote(2_500_000_000), quote(2_500_000_000), quote(3_000_000_000)])
    feed = FeedAgent(config=FeedConfig(), source=source, bus=broker.connect(), clock=clock, settle=broker.settle)
    task = asyncio.ensure_future(sleeper())
    await asyncio.sleep(0)
    await feed.start()
    await asyncio.wait_for(feed.run(), 20)
    await feed.stop()
    task.cancel()

    number = partition_of(b"A", SHARDS)
    records = broker.log(Partition("market", number)).records
    assert [record.timestamp_ms for record in records] == [2_000, 2_500, 2_500, 3_000]
    assert [(ns // 10**6, done) for ns, done in woken] == [
        (2_000, 0),
        (2_300, 1),
        (2_600, 3),
        (2_900, 3),
    ]
    assert clock.now_ns() == 3_000_000_000


async def test_speed_paces_by_the_differences_of_ts_recv() -> None:
    clock = VirtualClock(50_000_000_000)
    broker = MemoryBroker(clock=clock)
    await cluster(broker)
    source = ListSource([quote(10**9), quote(3 * 10**9), quote(4 * 10**9)])
    feed = FeedAgent(config=FeedConfig(speed=2.0), source=source, bus=broker.connect(), clock=clock)
    await feed.start()
    run = asyncio.ensure_future(feed.run())
    while not run.done():
        await broker.settle()
        if (deadline := clock.next_deadline_ns()) is not None and not run.done():
            clock.set(deadline)
    await run
    await feed.stop()
    records = broker.log(Partition("market", partition_of(b"A", SHARDS))).records
    assert [record.timestamp_ms for record in records] == [50_000, 51_000, 51_500]


async def test_the_hook_can_hold_the_feed_at_a_tick() -> None:
    broker = MemoryBroker(clock=VirtualClock())
    await cluster(broker)
    gate, held = asyncio.Event(), asyncio.Event()

    async def before(index: int, message: MarketMessage) -> None:
        if index == 3:
            assert message.ts_recv == 3
            held.set()
            await gate.wait()

    source = ListSource([quote(ts) for ts in range(6)])
    feed = FeedAgent(
        config=FeedConfig(),
        source=source,
        bus=broker.connect(),
        clock=broker.clock,
        settle=broker.settle,
        before=before,
    )
    await feed.start()
    run = asyncio.ensure_future(feed.run())
    await asyncio.wait_for(held.wait(), 5)
    await broker.settle()
    assert feed.published == 3 == sum(map(len, market(broker)))
    gate.set()
    await asyncio.wait_for(run, 5)
    await feed.stop()
    assert feed.published == 6


async def test_progress_is_reported_and_complete_at_the_end() -> None:
    broker = MemoryBroker()
    await cluster(broker)
    heard: list[tuple[int, int | None]] = []
    source = ListSource([quote(ts) for ts in range(25)])
    feed = FeedAgent(
        config=FeedConfig(progress_every=10),
        source=source,
        bus=broker.connect(),
        clock=broker.clock,
        progress=lambda done, total: heard.append((done, total)),
    )
    await feed.start()
    await asyncio.wait_for(feed.run(), 5)
    await feed.stop()
    assert heard == [(10, 25), (20, 25), (25, 25)]


async def test_stop_ends_a_waiting_feed_with_all_it_took_sent_and_can_be_called_twice() -> None:
    broker = MemoryBroker()
    await cluster(broker)
    source = ListSource([quote(0), quote(0), quote(3600 * 10**9)])
    feed = FeedAgent(config=FeedConfig(speed=1.0), source=source, bus=broker.connect(), clock=broker.clock)
    await feed.start()
    run = asyncio.ensure_future(feed.run())
    await broker.settle()
    await feed.stop()
    await feed.stop()
    await asyncio.wait_for(run, 5)
    assert sum(map(len, market(broker))) == 2


class Away(NoFaults):
    """Appends to `market` fail while `error` is set."""

    def __init__(self) -> None:
        self.error: TickpilotError | None = BusTimeout("append", 1)

    async def before(self, client: str, operation: str) -> None:
        if operation == "append market" and self.error is not None:
            raise self.error


async def test_a_feed_goes_on_where_it_was_when_the_bus_is_back() -> None:
    away = Away()
    clock = VirtualClock()
    broker = MemoryBroker(faults=away, clock=clock)
    await cluster(broker)
    source = ListSource([quote(0, instrument) for instrument in ("A", "B")])
    feed = FeedAgent(config=FeedConfig(speed=1.0), source=source, bus=broker.connect(), clock=broker.clock)
    await feed.start()
    run = asyncio.ensure_future(feed.run())
    for second in range(1, 6):
        clock.set(second * 10**9)
        await broker.settle()
    assert market(broker) == [[], []]
    away.error = None
    clock.set(9 * 10**9)
    await broker.settle()
    await asyncio.wait_for(run, 5)
    assert sorted(m.instrument for log in market(broker) for m in log) == ["A", "B"]
    await feed.stop()


async def test_a_feed_that_may_not_publish_ends_with_its_error() -> None:
    away = Away()
    away.error = Refused("not allowed")
    broker = MemoryBroker(faults=away)
    await cluster(broker)
    source = ListSource([quote(ts) for ts in range(10_000)])
    feed = FeedAgent(config=FeedConfig(stop_timeout_s=0.2), source=source, bus=broker.connect(), clock=broker.clock)
    await feed.start()
    with pytest.raises(Refused, match="not allowed"):
        await asyncio.wait_for(feed.run(), 5)
    with pytest.raises(BusTimeout, match="flushing"):
        await feed.stop()


async def test_a_heartbeat_tells_that_the_feed_lives() -> None:
    broker = MemoryBroker()
    await cluster(broker)
    feed = FeedAgent(config=FeedConfig(), source=ListSource([quote(0)]), bus=broker.connect(), clock=broker.clock)
    await feed.start()
    await asyncio.wait_for(feed.run(), 5)
    await feed.stop()
    [record] = broker.log(Partition("status", 0)).records
    assert record.key == b"feed-1/Heartbeat"
