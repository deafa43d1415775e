"""News of a group on their way to the listener, when the member leaves at that moment."""

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from messages import Partition
from messages.bus.kafka.group import GroupNews

WAIT_S = 10.0


class Listener:
    """Takes its time over what is revoked."""

    def __init__(self) -> None:
        self.is_asked, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.assigned: list[Partition] = []

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        self.assigned = list(partitions)

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        self.is_asked.set()
        await self.may_go_on.wait()


def news_for(listener: Listener, taking: asyncio.Event) -> GroupNews:
    async def take(_: list[Partition]) -> bool:
        await taking.wait()
        return True

    return GroupNews(listener=listener, prefix="", revoke_s=WAIT_S, wake=lambda: None, take=take)


async def member() -> tuple[GroupNews, Listener, asyncio.Event]:
    """A member that holds one partition."""
    listener, taking = Listener(), asyncio.Event()
    taking.set()
    news = news_for(listener, taking)
    news.assigned([TopicPartition("market", 0)])
    await news.hear()
    assert listener.assigned == [Partition("market", 0)]
    return news, listener, taking


async def test_leaving_while_a_revocation_is_heard_ends_both_in_order() -> None:
    news, listener, _ = await member()
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(news.revoked())
        await asyncio.sleep(0)
        hearing = tasks.create_task(news.hear())
        await listener.is_asked.wait()
        leaving = tasks.create_task(news.leave())
        await asyncio.sleep(0)
        listener.may_go_on.set()
        await asyncio.gather(hearing, leaving)
    assert news.held == []
    assert not news.is_waiting


async def test_leaving_while_an_assignment_is_taken_in_ends_both_in_order() -> None:
    news, listener, taking = await member()
    listener.may_go_on.set()
    taking.clear()
    news.assigned([TopicPartition("market", 0), TopicPartition("market", 1)])
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(news.hear())
        await asyncio.sleep(0)
        await news.leave()
        taking.set()
    assert not news.is_waiting
    assert listener.assigned == [Partition("market", 0)]  # a member that has left is told of nothing new
