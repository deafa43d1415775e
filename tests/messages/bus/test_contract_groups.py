"""The contract of consumer groups: hand-over, commits, redelivery."""

import asyncio
from collections.abc import Sequence

import pytest

from messages import Consumer, NewRecord, Partition, Record, Refused
from messages.errors import PartitionLost, TopicMismatch
from tests.clusters import SHARDS, Cluster, Heard, create, read

ALL = [Partition("market", number) for number in range(SHARDS)]


async def fill(cluster: Cluster, each: int = 5) -> None:
    bus = cluster.connect("feeder")
    await create(bus, "market")
    producer = await bus.producer()
    for partition in ALL:
        await producer.publish_batch(partition, [NewRecord(value=b"%d" % index) for index in range(each)])


async def join(consumer: Consumer, heard: Heard) -> None:
    """Poll until the first assignment has come, keeping no record."""
    for _ in range(100):
        if heard.assignments:
            return
        assert await consumer.poll(timeout_s=0.2, max_records=1) == [] or heard.assignments
    raise TimeoutError("no assignment came")


async def balance(members: Sequence[tuple[Consumer, Heard]], shares: Sequence[int]) -> list[Record]:
    """Poll all members, as their processes would, until they hold so many partitions; return what they read."""
    read_meanwhile: list[Record] = []
    for _ in range(100):
        if [len(heard.held) for _, heard in members] == list(shares):
            return read_meanwhile
        for records in await asyncio.gather(*(consumer.poll(timeout_s=0.1) for consumer, _ in members)):
            read_meanwhile += records
    raise TimeoutError(f"members hold {[heard.held for _, heard in members]}")


async def test_the_first_member_gets_all_partitions_from_their_beginning(cluster: Cluster) -> None:
    await fill(cluster)
    heard = Heard()
    consumer = await cluster.connect("a").subscribe(["market"], "execution", heard)
    records = await read(consumer, 5 * SHARDS)
    assert sorted(heard.held) == ALL
    assert sorted((record.partition, record.offset) for record in records) == [
        (number, offset) for number in range(SHARDS) for offset in range(5)
    ]
    assert {partition: consumer.position(partition) for partition in ALL} == dict.fromkeys(ALL, 5)


async def test_positions_are_known_when_the_listener_hears_of_an_assignment(cluster: Cluster) -> None:
    await fill(cluster)
    positions: list[int] = []

    class Asks(Heard):
        def on_assigned(self, partitions: Sequence[Partition]) -> None:
            super().on_assigned(partitions)
            positions.extend(consumer.position(partition) for partition in partitions)
            consumer.pause(partitions)

    heard = Asks()
    consumer = await cluster.connect("a").subscribe(["market"], "execution", heard)
    await join(consumer, heard)
    assert positions == [0] * SHARDS
    assert await consumer.poll(timeout_s=0.1) == []


async def test_what_was_not_committed_is_delivered_again_after_a_restart(cluster: Cluster) -> None:
    await fill(cluster)
    first = await cluster.connect("a").subscribe(["market"], "execution", Heard())
    assert len(await read(first, 5 * SHARDS)) == 5 * SHARDS
    assert await first.committed(ALL[0]) is None
    await first.commit({ALL[0]: 2, ALL[1]: 5})
    assert await first.committed(ALL[0]) == 2
    await first.stop()
    second = await cluster.connect("a2").subscribe(["market"], "execution", Heard())
    records = await read(second, 13)
    assert sorted((record.partition, record.offset) for record in records) == [
        *[(0, offset) for offset in (2, 3, 4)],
        *[(number, offset) for number in (2, 3) for offset in range(5)],
    ]
    assert await second.poll(timeout_s=0.1) == []


async def test_groups_do_not_see_each_others_commits_and_a_commit_never_goes_back(cluster: Cluster) -> None:
    await fill(cluster)
    heard, other_heard = Heard(), Heard()
    consumer = await cluster.connect("a").subscribe(["market"], "execution", heard)
    other = await cluster.connect("b").subscribe(["market"], "risk", other_heard)
    await join(consumer, heard)
    await join(other, other_heard)
    await consumer.commit({ALL[0]: 3})
    await consumer.commit({ALL[0]: 1})
    assert await consumer.committed(ALL[0]) == 3
    assert await other.committed(ALL[0]) is None


async def test_a_joining_member_takes_its_share_where_the_other_has_committed(cluster: Cluster) -> None:
    await fill(cluster)
    done: dict[Partition, int] = {}

    class Commits(Heard):
        async def on_revoked(self, partitions: Sequence[Partition]) -> None:
            await first.commit({partition: done[partition] for partition in partitions})
            await super().on_revoked(partitions)

    first_heard, second_heard = Commits(), Heard()
    first = await cluster.connect("a").subscribe(["market"], "execution", first_heard)
    for record in await read(first, 5 * SHARDS):
        done[Partition(record.topic, record.partition)] = record.offset + 1
    second = await cluster.connect("b").subscribe(["market"], "execution", second_heard)
    again = await balance([(first, first_heard), (second, second_heard)], [SHARDS // 2, SHARDS // 2])
    assert again == []
    assert sorted(first_heard.held + second_heard.held) == ALL
    assert sorted(first_heard.revoked) == ALL
    assert [await second.committed(partition) for partition in second_heard.held] == [5, 5]


async def test_a_leaving_member_hears_of_it_and_hands_everything_to_the_other(cluster: Cluster) -> None:
    await fill(cluster)
    heard, other_heard = Heard(), Heard()
    leaving = await cluster.connect("a").subscribe(["market"], "execution", heard)
    staying = await cluster.connect("b").subscribe(["market"], "execution", other_heard)
    await balance([(leaving, heard), (staying, other_heard)], [SHARDS // 2, SHARDS // 2])
    held = list(heard.held)
    await leaving.stop()
    assert sorted(heard.revoked) == sorted(held)
    await balance([(staying, other_heard)], [SHARDS])
    assert sorted(other_heard.held) == ALL


async def test_no_record_is_delivered_between_revocation_and_the_next_assignment(cluster: Cluster) -> None:
    await fill(cluster, each=200)
    heard, other_heard = Heard(), Heard()
    first = await cluster.connect("a").subscribe(["market"], "execution", heard)
    await join(first, heard)
    second = await cluster.connect("b").subscribe(["market"], "execution", other_heard)
    for _ in range(200):
        records, _ = await asyncio.gather(first.poll(max_records=2, timeout_s=0.05), second.poll(timeout_s=0.05))
        assert {Partition(r.topic, r.partition) for r in records} <= set(heard.held)
        if other_heard.held and heard.assignments == 2:
            return
    raise TimeoutError("the second member got no share")


async def test_a_commit_for_a_partition_that_is_not_held_is_lost(cluster: Cluster) -> None:
    await fill(cluster)
    heard, other_heard = Heard(), Heard()
    first = await cluster.connect("a").subscribe(["market"], "execution", heard)
    second = await cluster.connect("b").subscribe(["market"], "execution", other_heard)
    await balance([(first, heard), (second, other_heard)], [SHARDS // 2, SHARDS // 2])
    with pytest.raises(PartitionLost):
        await first.commit({other_heard.held[0]: 1})
    await first.commit({heard.held[0]: 1})


async def test_without_a_group_there_are_no_commits_and_in_a_group_no_assignments(cluster: Cluster) -> None:
    await fill(cluster)
    bus = cluster.connect()
    alone = await bus.consumer()
    with pytest.raises(Refused):
        await alone.commit({ALL[0]: 1})
    assert await alone.committed(ALL[0]) is None
    member = await bus.subscribe(["market"], "execution", Heard())
    with pytest.raises(Refused):
        await member.assign({ALL[0]: 0})


async def test_subscribing_to_a_missing_topic_is_a_mismatch(cluster: Cluster) -> None:
    with pytest.raises(TopicMismatch, match="orders"):
        await cluster.connect().subscribe(["orders"], "execution", Heard())
