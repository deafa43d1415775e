"""The contract of members that die, come back or hand over: nothing is missed, and what was committed stays done."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from messages import Bus, Consumer, NewRecord, Partition, Record, Refused
from messages.errors import PartitionLost
from tests.clusters import SHARDS, Cluster, Heard, create, read

ALL = [Partition("market", number) for number in range(SHARDS)]


async def fill(cluster: Cluster, each: int) -> None:
    bus = cluster.connect("feeder")
    await create(bus, "market")
    producer = await bus.producer()
    for partition in ALL:
        await producer.publish_batch(partition, [NewRecord(value=b"%d" % index) for index in range(each)])


class Worker(Heard):
    """Counts what it reads in `seen`, and commits on revocation."""

    def __init__(self, seen: Counter[tuple[int, int]]) -> None:
        super().__init__()
        self._seen = seen
        self._next: dict[Partition, int] = {}

    async def join(self, bus: Bus) -> None:
        self._consumer = await bus.subscribe(["market"], "execution", self)

    async def poll(self) -> None:
        for record in await self._consumer.poll(max_records=2, timeout_s=0.05):
            self._seen[record.partition, record.offset] += 1
            self._next[Partition(record.topic, record.partition)] = record.offset + 1

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        await self._consumer.commit({p: self._next[p] for p in partitions if p in self._next})
        self._next = {}
        await super().on_revoked(partitions)

    async def stop(self) -> None:
        await self._consumer.stop()


async def joined(cluster: Cluster, name: str, seen: Counter[tuple[int, int]]) -> Worker:
    """A new member that counts in `seen`."""
    worker = Worker(seen)
    await worker.join(cluster.connect(name))
    return worker


async def until(members: Sequence[Consumer], is_so: Sequence[tuple[Heard, int]]) -> None:
    """Poll all members, keeping nothing, until each listener holds so many partitions."""
    for _ in range(200):
        if all(len(heard.held) == count for heard, count in is_so):
            return
        await asyncio.gather(*(member.poll(timeout_s=0.1) for member in members))
    raise TimeoutError(f"members hold {[heard.held for heard, _ in is_so]}")


async def test_after_a_crash_the_next_member_reads_again_what_was_not_committed(cluster: Cluster) -> None:
    await fill(cluster, 5)
    first = await cluster.connect("a").subscribe(["market"], "execution", Heard())
    assert len(await read(first, 5 * SHARDS)) == 5 * SHARDS
    await first.commit({ALL[0]: 5, ALL[1]: 3})
    await cluster.vanish(first)
    second = await cluster.connect("b").subscribe(["market"], "execution", Heard())
    again = await read(second, 12)  # once the dead member's session has run out
    assert sorted((record.partition, record.offset) for record in again) == [
        *[(1, offset) for offset in (3, 4)],
        *[(number, offset) for number in (2, 3) for offset in range(5)],
    ]


async def test_the_group_confirms_what_a_member_holds_and_nothing_else(cluster: Cluster) -> None:
    await fill(cluster, 5)
    heards = [Heard(), Heard()]
    one = await cluster.connect("a").subscribe(["market"], "execution", heards[0])
    two = await cluster.connect("b").subscribe(["market"], "execution", heards[1])
    await until([one, two], [(heards[0], 2), (heards[1], 2)])
    mine, other = heards[0].held[0], heards[1].held[0]
    await one.confirm(mine)
    with pytest.raises(PartitionLost):
        await one.confirm(other)
    await one.commit({mine: 3})
    await one.confirm(mine)
    assert await one.committed(mine) == 3
    with pytest.raises(Refused, match="needs a group"):
        await (await cluster.connect("c").consumer()).confirm(mine)


async def test_a_static_member_that_is_back_in_time_moves_nothing(cluster: Cluster) -> None:
    await fill(cluster, 5)
    heards = [Heard() for _ in range(3)]
    one = await cluster.connect("a").subscribe(["market"], "execution", heards[0], member="one")
    two = await cluster.connect("b").subscribe(["market"], "execution", heards[1], member="two")
    await until([one, two], [(heards[0], 2), (heards[1], 2)])
    held, assignments = list(heards[1].held), heards[0].assignments
    await two.commit({held[0]: 2})
    await cluster.vanish(two)
    again = await cluster.connect("b2").subscribe(["market"], "execution", heards[2], member="two")
    redelivered: list[Record] = []
    for _ in range(40):
        polled = await asyncio.gather(one.poll(timeout_s=0.1), again.poll(timeout_s=0.1))
        redelivered += polled[1]
        if len(redelivered) == 8:
            break
    assert heards[2].held == held
    assert heards[0].assignments == assignments
    assert Counter(record.partition for record in redelivered) == {held[0].number: 3, held[1].number: 5}


async def test_members_that_come_and_go_hand_over_without_a_gap_or_a_repeat(cluster: Cluster) -> None:
    """Each commits on revocation what it has done; all that was read, by whomever, is each record once."""
    await fill(cluster, 60)
    seen: Counter[tuple[int, int]] = Counter()
    workers = [await joined(cluster, "w0", seen)]
    for round_number in range(400):
        await asyncio.gather(*(worker.poll() for worker in workers))
        if round_number in {10, 40}:
            workers.append(await joined(cluster, f"w{len(workers)}", seen))
        elif round_number == 70:
            await workers.pop(0).stop()
        if round_number > 70 and len(seen) == 60 * SHARDS:
            break
    assert {key: count for key, count in seen.items() if count != 1} == {}
    assert len(seen) == 60 * SHARDS


async def test_a_commit_is_seen_by_other_members_and_never_goes_back(cluster: Cluster) -> None:
    await fill(cluster, 5)
    heards = [Heard(), Heard()]
    one = await cluster.connect("a").subscribe(["market"], "execution", heards[0])
    two = await cluster.connect("b").subscribe(["market"], "execution", heards[1])
    await until([one, two], [(heards[0], 2), (heards[1], 2)])
    mine = heards[0].held[0]
    for offset in (3, 1, 4, 2):  # out of order, as work that ends when it ends
        await one.commit({mine: offset})
    assert [await one.committed(mine), await two.committed(mine)] == [4, 4]
    await one.stop()
    await until([two], [(heards[1], SHARDS)])
    await two.commit({mine: 2})
    assert await two.committed(mine) == 4
