"""The feed: plays a source onto `market`."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from agents.feed.config import FeedConfig
from agents.feed.lanes import Lane
from agents.feed.pacing import Settle, VirtualPacer, pacer_for
from agents.feed.source import Source
from agents.lifecycle.status import beat
from agents.lifecycle.supervisor import Supervisor
from messages import Bus, Clock, Heartbeat, NewRecord, Partition, Producer, encode
from messages.bus.partitioner import partition_of
from messages.errors import BusTimeout
from messages.market import MarketMessage

Before = Callable[[int, MarketMessage], Awaitable[None]]
Progress = Callable[[int, int | None], None]

_YIELD_EVERY = 64  # messages between two turns for everyone else, when nothing else makes us wait


async def _nothing_to_settle() -> None: ...


async def _go_on(_index: int, _message: MarketMessage) -> None: ...


def _not_shown(_done: int, _total: int | None) -> None: ...


class FeedAgent:
    """Publishes a source's messages on `market`, keyed by instrument, in order within each partition.

    On a virtual clock at speed 0 it moves the clock to each message's `ts_recv`, publishes, and awaits `settle` (the
    memory broker's) after every waking and every message, so that a run is repeatable. Otherwise it sends batches, one
    in flight for each partition. `before` is awaited before each message and may hold the feed; `progress` hears
    (published, total) every `progress_every` messages and at the end.
    """

    def __init__(
        self,
        *,
        config: FeedConfig,
        source: Source,
        bus: Bus,
        clock: Clock,
        agent_id: str = "feed-1",
        settle: Settle = _nothing_to_settle,
        before: Before = _go_on,
        progress: Progress = _not_shown,
    ) -> None:
        self._config, self._source, self._bus, self._clock = config, source, bus, clock
        self._agent_id = agent_id
        self._settle, self._before, self._progress = settle, before, progress
        self._pacer = pacer_for(config.speed, clock, settle)
        self._supervisor = Supervisor()
        self._producer: Producer | None = None
        self._lanes: list[Lane] = []
        self._play_task: asyncio.Task[None] | None = None
        self._stopped = False
        self._counts: Counter[str] = Counter()

    @property
    def agent_id(self) -> str:
        return self._agent_id

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages handed to the bus, by type."""
        return self._counts

    @property
    def published(self) -> int:
        """Messages handed to the bus."""
        return self._counts.total()

    async def start(self) -> None:
        self._producer = await self._bus.producer()
        for number in range(await self._bus.partition_count("market")):
            lane = Lane(Partition("market", number), self._producer, max_waiting=self._config.max_waiting)
            self._lanes.append(lane)
            self._supervisor.keep(lane.run, f"{self._agent_id}-lane-{number}", self._clock)
        self._supervisor.spawn(
            beat(self._bus, self._producer, self._clock, self._heartbeat, self._config.heartbeat_interval_ms),
            f"{self._agent_id}-heartbeat",
        )

    async def run(self) -> None:
        """Play the source once; return when all of it is acknowledged, or when stopped."""
        self._play_task = self._supervisor.spawn(self._play(), f"{self._agent_id}-play")
        await self._supervisor.wait()

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if self._play_task is not None:
            self._play_task.cancel()
        try:
            async with asyncio.timeout(self._config.stop_timeout_s):
                await self._flush()
        except TimeoutError as error:
            raise BusTimeout("flushing market data", self._config.stop_timeout_s) from error
        finally:
            await self._supervisor.stop(self._config.stop_timeout_s)
            if self._producer is not None:
                await self._producer.stop()

    async def _play(self) -> None:
        is_settled = isinstance(self._pacer, VirtualPacer)
        every, total = self._config.progress_every, self._source.count
        keys = {name: (name.encode(), self._lane_of(name)) for name in self._source.instruments}
        for index, message in enumerate(self._source):
            await self._before(index, message)
            await self._pacer.until(message.ts_recv)
            key, lane = keys[message.instrument]
            record = NewRecord(key=key, value=encode(message))
            if is_settled:
                await lane.publish(record)
                await self._settle()
            else:
                await lane.put(record)
                if index % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            self._counts[type(message).__name__] += 1
            if (index + 1) % every == 0:
                self._progress(index + 1, total)
        await self._flush()
        self._progress(self.published, total)
        await self._supervisor.stop(self._config.stop_timeout_s)

    def _lane_of(self, instrument: str) -> Lane:
        return self._lanes[partition_of(instrument.encode(), len(self._lanes))]

    async def _flush(self) -> None:
        for lane in self._lanes:
            await lane.flush()

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(agent_id=self._agent_id, agent="feed", ts=self._clock.now_ns(), state="live")
