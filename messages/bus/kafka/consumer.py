"""Consumers on Kafka: partitions assigned by hand, or a group's with the rebalance heard from inside `poll`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError

from messages.bus.health import Verdict
from messages.bus.kafka.calls import KafkaTimeouts, as_bus_error, bounded, closed, started
from messages.bus.kafka.group import GroupNews
from messages.bus.kafka.parsing import Parsing
from messages.bus.kafka.progress import Progress
from messages.bus.kafka.raw import ended_consumer, raw_consumer
from messages.bus.kafka.watch import Watch, quietly
from messages.bus.protocol import Partition, RebalanceListener, Record
from messages.clock import Clock
from messages.errors import BusTimeout, Refused, TopicMismatch
from messages.status import ClientKind

CountPartitions = Callable[[str], Awaitable[int]]
T = TypeVar("T")


class _Offer(NamedTuple):
    """A raw client that works, for whoever polls next."""

    fresh: Any
    taken: asyncio.Future[None]


class KafkaConsumer:
    """One aiokafka consumer with its own connections; with `group`, a member that commits by hand.

    When the raw consumer stalls, `poll` goes on with a fresh one: at the same positions, or as a new member.
    """

    def __init__(
        self,
        *,
        url: str,
        prefix: str,
        connection: dict[str, Any],
        timeouts: KafkaTimeouts,
        count: CountPartitions,
        on_stop: Callable[["KafkaConsumer"], None],
        clock: Clock,
        group: str | None = None,
        member: str | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self._gather_s, self._gather_until_s = gather_s, 0.0
        self._url, self._prefix, self._timeouts, self._count = url, prefix, timeouts, count
        self._on_stop = on_stop
        self._group, self._member, self._connection = group, member, connection
        self._news: GroupNews | None = None
        self._subscription: tuple[Sequence[str], RebalanceListener] | None = None
        self._assigned: list[Partition] = []
        self._paused: set[Partition] = set()
        self._committed: dict[Partition, int] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._stopped = False
        self._offer: _Offer | None = None
        self._handled = self._timed_out = 0
        self._parsing = Parsing(prefix)
        self._progress = Progress(timeouts=timeouts, positions=self._due_positions, ask_ends=self._ask_ends)
        self._raw = self.new_raw()
        self.watch = Watch(self, url=url, timeouts=timeouts, clock=clock)

    async def start(self) -> None:
        """Connect. Raises BusUnavailable."""
        try:
            await started(self._url, "a consumer", self._raw.start, self._timeouts.start_s)
        except BaseException:
            await self.stop()
            raise
        self.watch.begin()

    def join(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        """Ask to become a member; the first assignment is heard in a poll."""
        self._subscription = (topics, listener)
        self._news = GroupNews(
            listener=listener,
            prefix=self._prefix,
            revoke_s=self._timeouts.revoke_s,
            wake=self._wake,
            take=self._place,
        )
        self._raw.subscribe([self._prefix + topic for topic in topics], listener=self._news.bridge)

    async def poll(self, *, max_records: int = 512, timeout_s: float = 1.0) -> list[Record]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        self._progress.began()
        try:
            # Buffered records come without a pause: without a turn for others heartbeats would starve in a tight loop.
            await asyncio.sleep(min(max(0.0, self._gather_until_s - loop.time()), timeout_s))
            while not self._stopped:
                if self._offer is not None:
                    await self._go_on_with(*self._offer)
                if self._news is not None:
                    await self._news.hear()
                if self._held and (self._news is None or not self._news.is_rebalancing):
                    if records := await self._take(max_records):
                        self._gather_until_s = loop.time() + self._gather_s
                        return records
                elif self._news is not None:
                    self._check_coordinator()
                left_s = deadline - loop.time()
                if left_s <= 0 or self._stopped:
                    break
                await self._wait(left_s)
            return []
        finally:
            self._progress.ended()

    async def _take(self, max_records: int) -> list[Record]:
        """Return what is buffered. Between this and `_wait` nothing may be awaited: a wake-up would be lost."""
        self._parsing.take_over(self._raw._fetcher)  # noqa: SLF001 - it holds what was fetched
        try:
            batches = await self._raw.getmany(max_records=max_records)
        except OffsetOutOfRangeError as error:
            await self._find_position(error)
            return []
        except (KafkaError, OSError, RuntimeError) as error:
            raise as_bus_error(error, self._url, "poll", 0) from error
        records: list[Record] = []
        for raw, batch in batches.items():
            records += self._parsing.records(raw, batch)
        self._handled += len(records)
        return records

    def _check_coordinator(self) -> None:
        try:
            self._raw._coordinator.check_errors()  # noqa: SLF001 - getmany does it, but only with an assignment
        except KafkaError as error:
            raise as_bus_error(error, self._url, "poll", 0) from error

    async def _wait(self, timeout_s: float) -> None:
        """Wait for fetched records or for news of the group, whichever is first."""
        waiter = self._raw._fetcher._create_fetch_waiter()  # noqa: SLF001 - getmany's own waiter, which news can wake too
        self._waiter = waiter
        if self._offer is not None or (self._news is not None and self._news.is_waiting):
            self._wake()
        # Awaited as it is, without asyncio.wait around it: one turn of the loop less between a record and its reader.
        deadline = asyncio.get_running_loop().call_later(timeout_s, self._wake)
        try:
            with suppress(KafkaError):  # told again by the next getmany
                await waiter
        finally:
            deadline.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _find_position(self, error: OffsetOutOfRangeError) -> None:
        """Go on at the first record left when retention was faster; refuse a position past the end."""
        for raw, offset in dict(error.args[0]).items():
            partition = self._ours(raw)
            beginning = (await self.beginning_offsets([partition]))[partition]
            if offset > beginning:
                end = (await self.end_offsets([partition]))[partition]
                if offset > end:
                    detail = (
                        f"partition {partition.number} ends at {end}, but {offset} was to be read: records were lost"
                    )
                    raise TopicMismatch(partition.topic, detail)
            elif self.position(partition) == offset:
                await self.seek(partition, beginning)

    async def assign(self, positions: Mapping[Partition, int]) -> None:
        if self._group is not None:
            raise Refused("assign is not for members of a group; use Bus.consumer")
        await self._check(positions)
        self._assign(positions)
        self._wake()

    def _assign(self, positions: Mapping[Partition, int]) -> None:
        self._assigned = list(positions)
        if positions:
            self._raw.assign([self._raw_of(partition) for partition in positions])
        for partition, offset in positions.items():
            self._raw.seek(self._raw_of(partition), offset)
        self.pause(self._paused)

    async def seek(self, partition: Partition, offset: int) -> None:
        if partition in self._held:
            self._raw.seek(self._raw_of(partition), offset)
            self._wake()

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._paused.update(partitions)
        self._raw.pause(*(self._raw_of(partition) for partition in self._paused if partition in self._held))

    def resume(self, partitions: Iterable[Partition]) -> None:
        resumed = [partition for partition in partitions if partition in self._paused]
        self._paused.difference_update(resumed)
        self._raw.resume(*(self._raw_of(partition) for partition in resumed if partition in self._held))
        self._wake()

    def position(self, partition: Partition) -> int:
        if partition not in self._held:
            raise KeyError(partition)
        position: int = self._state_of(partition).position
        return position

    def _state_of(self, partition: Partition) -> Any:
        assignment = self._raw._subscription.subscription.assignment  # noqa: SLF001 - the public one is a coroutine
        return assignment.state_value(self._raw_of(partition))

    async def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        return await self._offsets(self._raw.beginning_offsets, "reading beginning offsets", list(partitions))

    async def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        return await self._offsets(self._raw.end_offsets, "reading end offsets", list(partitions))

    async def _offsets(
        self,
        ask: Callable[[list[TopicPartition]], Awaitable[dict[TopicPartition, int]]],
        what: str,
        of: list[Partition],
    ) -> dict[Partition, int]:
        await self._check(of)
        raw = [self._raw_of(partition) for partition in of]
        offsets = await self._bounded(what, ask(raw), self._timeouts.metadata_s)
        return {self._ours(partition): offset for partition, offset in offsets.items()}

    async def offsets_at(self, partitions: Iterable[Partition], timestamp_ms: int) -> dict[Partition, int]:
        of = list(partitions)
        ends = await self.end_offsets(of)  # before the question: what comes in between is not skipped
        asked = self._raw.offsets_for_times({self._raw_of(partition): timestamp_ms for partition in of})
        found = await self._bounded("reading offsets at a time", asked, self._timeouts.metadata_s)
        firsts = {self._ours(raw): at.offset for raw, at in found.items() if at is not None}
        return {partition: firsts.get(partition, ends[partition]) for partition in of}

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        if self._group is None:
            raise Refused("commit needs a group; use Bus.subscribe")
        new = {p: offset for p, offset in offsets.items() if offset > self._committed.get(p, -1)}
        if not new:
            return
        raw = {self._raw_of(partition): offset for partition, offset in new.items()}
        await self._bounded("commit", self._raw.commit(raw), self._timeouts.commit_s)
        self._committed.update(new)

    async def confirm(self, partition: Partition) -> None:
        if self._group is None:
            raise Refused("confirm needs a group; use Bus.subscribe")
        again = {self._raw_of(partition): self._committed.get(partition, 0)}
        await self._bounded("confirm", self._raw.commit(again), self._timeouts.commit_s)

    async def committed(self, partition: Partition) -> int | None:
        if self._group is None:
            return None
        asked = self._raw.committed(self._raw_of(partition))
        stored: int | None = await self._bounded("reading a committed offset", asked, self._timeouts.commit_s)
        return stored

    async def _bounded(self, operation: str, work: Awaitable[T], timeout_s: float) -> T:
        try:
            return await bounded(self._url, operation, work, timeout_s)
        except BusTimeout:
            self._timed_out += 1
            raise

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._on_stop(self)
        self._wake()
        try:
            if self._news is not None:
                await self._news.leave()
        finally:
            try:
                await self.close_raw(self._raw)
            finally:
                await self.watch.end()

    @property
    def name(self) -> str:
        if self._group is not None:
            return f"group {self._group}"
        if len(self._assigned) == 1:
            return f"{self._assigned[0].topic}-{self._assigned[0].number}"
        return ",".join(sorted({partition.topic for partition in self._assigned})) or "nothing"

    @property
    def kind(self) -> ClientKind:
        return "consumer" if self._group is None else "member"

    async def look(self, now_ns: int) -> Verdict:
        has_left = self._news is not None and self._news.has_left
        return await self._progress.look(now_ns, "it has left its group" if has_left else ended_consumer(self._raw))

    def _due_positions(self) -> dict[Partition, int] | None:
        """Return the positions of what is to be read now; None while the group is deciding who reads what."""
        if self._news is not None and self._news.is_rebalancing:
            return None
        try:
            return {partition: self.position(partition) for partition in self._held if partition not in self._paused}
        except (AttributeError, KeyError, AssertionError):  # the raw client knows of a rebalance that we don't yet
            return None

    async def _ask_ends(self, of: Sequence[Partition]) -> dict[Partition, int]:
        raw = [self._raw_of(partition) for partition in of]
        asked = self._raw._fetcher.end_offsets(raw, None)  # noqa: SLF001 - the public one waits longer
        ends = await bounded(self._url, "asking where the end is", asked, self._timeouts.stall_s / 2)
        return {self._ours(partition): end for partition, end in ends.items()}

    def figures(self) -> tuple[int, int, int]:
        positions = self._due_positions() or {}
        highwaters = {partition: self._state_of(partition).highwater or 0 for partition in positions}
        return self._handled, self._progress.behind(highwaters), self._timed_out

    def new_raw(self) -> AIOKafkaConsumer:
        group = None if self._group is None else self._prefix + self._group
        follows = self._gather_s > 0
        return raw_consumer(self._connection, self._timeouts, group=group, member=self._member, follows=follows)

    async def replace(self, fresh: Any, within_s: float) -> bool:
        """Offer `fresh` to the next poll, so that nothing changes under a caller's hands."""
        offer = self._offer = _Offer(fresh, asyncio.get_running_loop().create_future())
        self._wake()
        try:
            await asyncio.wait({offer.taken}, timeout=within_s)
        finally:
            if self._offer is offer:
                self._offer = None
        return offer.taken.done()

    async def _go_on_with(self, fresh: Any, taken: asyncio.Future[None]) -> None:
        self._offer = None
        taken.set_result(None)
        try:
            if self._news is not None:
                await quietly(self._news.leave())
        except BaseException:
            self._retire(fresh)
            raise
        if self._stopped:
            self._retire(fresh)
            return
        positions = {partition: self.position(partition) for partition in self._assigned}
        old, self._raw = self._raw, fresh
        self._progress.start_anew()
        if self._subscription is None:
            self._assign(positions)
        else:
            self.join(*self._subscription)
        self._retire(old)

    def _retire(self, raw: Any) -> None:
        self.watch.spawn(quietly(self.close_raw(raw)), f"closing a consumer of {self.name}")

    async def close_raw(self, raw: Any) -> None:
        client = raw._client  # noqa: SLF001 - for cutting its connections
        await closed(self._url, "a consumer", raw.stop(), client, self._timeouts.stop_s)

    async def _place(self, assigned: list[Partition]) -> bool:
        """Place the positions of what was assigned, so that they are known when the listener hears of it.

        Returns False when the group has moved on meanwhile.
        """
        stored = {partition: await self.committed(partition) for partition in assigned}
        fresh = [partition for partition, offset in stored.items() if offset is None]
        beginnings = await self.beginning_offsets(fresh) if fresh else {}
        try:
            for partition, offset in stored.items():
                self._raw.seek(self._raw_of(partition), beginnings[partition] if offset is None else offset)
        except IllegalStateError:
            return False
        self._paused = set()
        self._committed = {partition: offset for partition, offset in stored.items() if offset is not None}
        return True

    @property
    def _held(self) -> list[Partition]:
        return self._assigned if self._news is None else self._news.held

    async def _check(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            if not 0 <= partition.number < await self._count(partition.topic):
                raise TopicMismatch(partition.topic, f"has no partition {partition.number}")

    def _raw_of(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self._prefix + partition.topic, partition.number)

    def _ours(self, partition: TopicPartition) -> Partition:
        return Partition(partition.topic[len(self._prefix) :], partition.partition)
