"""Consumers of the in-memory bus: partitions assigned by hand, or a group's."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from messages.bus.memory.groups import Group, Member, wake
from messages.bus.protocol import Partition, Record
from messages.errors import PartitionLost, Refused, TopicMismatch

if TYPE_CHECKING:
    from messages.bus.memory.broker import MemoryBroker

HEARTBEAT_S = 0.3


class MemoryConsumer:
    """Reads the broker's logs; with `group` and `membership`, as a member."""

    def __init__(
        self, broker: "MemoryBroker", client: str, *, group: Group | None = None, membership: Member | None = None
    ) -> None:
        self._broker, self._client = broker, client
        self._group, self._membership = group, membership
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._next = 0
        self._waiter: asyncio.Future[bool] | None = None
        self._stopped = False

    async def poll(self, *, max_records: int = 512, timeout_s: float = 1.0) -> list[Record]:
        if self._broker.is_undisturbed:
            return await self._poll(max_records, timeout_s)
        await self._broker.begin(self._client, "poll")
        records = await self._poll(max_records, timeout_s)
        try:
            await self._broker.end(self._client, "poll")
        except BaseException:  # whoever polls next gets them: a failed or cancelled poll loses nothing
            self._give_back(records)
            raise
        return records

    async def _poll(self, max_records: int, timeout_s: float) -> list[Record]:
        deadline_ns = self._broker.clock.now_ns() + round(timeout_s * 1e9)
        while not self._stopped:
            await self._rebalance()
            if records := self._take(max_records):
                self._broker.activity += 1
                return records
            left_s = (deadline_ns - self._broker.clock.now_ns()) / 1e9
            if left_s <= 0:
                break
            if self._group is not None and self._group.waits_for_session:
                left_s = min(left_s, HEARTBEAT_S)
            await self._wait(left_s)
            await self._broker.turn()
        return []

    def _take(self, max_records: int) -> list[Record]:
        """Drain one partition at a time, taking turns, as fetches do."""
        if self._group is not None and self._membership is not None and self._group.is_rebalancing(self._membership):
            return []
        partitions = list(self._positions)
        taken: list[Record] = []
        for turn in range(len(partitions)):
            partition = partitions[(self._next + turn) % len(partitions)]
            if partition in self._paused or len(taken) >= max_records:
                continue
            log, position = self._broker.log(partition), self._positions[partition]
            if position > log.end:
                detail = f"partition {partition.number} ends at {log.end}, but {position} was to be read"
                raise TopicMismatch(partition.topic, f"{detail}: records were lost")
            records = log.read(position, max_records - len(taken))
            if records:
                self._positions[partition] = records[-1].offset + 1
                taken += records
            elif position < log.end:  # compaction took the newest records
                self._positions[partition] = log.end
        self._next += 1
        return taken

    def _give_back(self, records: Iterable[Record]) -> None:
        firsts: dict[Partition, int] = {}
        for record in records:
            firsts.setdefault(Partition(record.topic, record.partition), record.offset)
        self._positions.update({p: offset for p, offset in firsts.items() if p in self._positions})

    async def _wait(self, timeout_s: float) -> None:
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        logs = [self._broker.log(partition) for partition in self._positions if partition not in self._paused]
        for log in logs:
            log.readers[waiter] = None
        if self._group:
            self._group.waiters[waiter] = None
        try:
            await self._broker.clock.wait(waiter, timeout_s)
        finally:
            for log in logs:
                log.readers.pop(waiter, None)
            if self._group:
                self._group.waiters.pop(waiter, None)
            if not waiter.done():
                waiter.cancel()

    async def _rebalance(self) -> None:
        if self._group is None or self._membership is None:
            return
        while (assignment := await self._group.assignment(self._membership, self._broker.clock.now_ns())) is not None:
            positions = {}
            for partition in assignment:
                stored = self._group.committed.get(partition)
                positions[partition] = self._broker.log(partition).start() if stored is None else stored
            self._positions, self._paused = positions, set()
            self._membership.listener.on_assigned(assignment)
            self._broker.activity += 1

    async def assign(self, positions: Mapping[Partition, int]) -> None:
        if self._group is not None:
            raise Refused("assign is not for members of a group; use Bus.consumer")
        for partition in positions:
            self._broker.log(partition)
        self._positions = dict(positions)
        self._wake_poll()

    async def seek(self, partition: Partition, offset: int) -> None:
        if partition in self._positions:
            self._positions[partition] = offset
            self._wake_poll()

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._paused.difference_update(partitions)
        self._wake_poll()

    def position(self, partition: Partition) -> int:
        return self._positions[partition]

    async def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        await self._broker.begin(self._client, "beginning_offsets")
        return {partition: self._broker.log(partition).start() for partition in partitions}

    async def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        await self._broker.begin(self._client, "end_offsets")
        ends = {partition: self._broker.log(partition).end for partition in partitions}
        await self._broker.end(self._client, "end_offsets")
        return ends

    async def offsets_at(self, partitions: Iterable[Partition], timestamp_ms: int) -> dict[Partition, int]:
        await self._broker.begin(self._client, "offsets_at")
        return {partition: self._broker.log(partition).at(timestamp_ms) for partition in partitions}

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        await self._commit("commit", offsets)

    async def confirm(self, partition: Partition) -> None:
        await self._commit("confirm", {partition: 0})

    async def _commit(self, operation: str, offsets: Mapping[Partition, int]) -> None:
        if self._group is None or self._membership is None:
            raise Refused(f"{operation} needs a group; use Bus.subscribe")
        await self._broker.begin(self._client, operation)
        if lost := self._group.not_held(self._membership, offsets):
            raise PartitionLost(operation, f"this member does not hold {lost}")
        self._group.commit(offsets)
        await self._broker.end(self._client, operation)

    async def committed(self, partition: Partition) -> int | None:
        return self._group.committed.get(partition) if self._group else None

    def vanish(self) -> None:
        """End as a killed process does: nothing is given up, and nobody is told before the session has run out."""
        self._stopped = True
        self._wake_poll()
        if self._group and self._membership:
            self._group.fall_silent(self._membership, self._broker.clock.now_ns())

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._wake_poll()
        if self._group and self._membership:
            await self._group.leave(self._membership, self._broker.clock.now_ns())

    def _wake_poll(self) -> None:
        if self._waiter is not None:
            wake(self._waiter)
