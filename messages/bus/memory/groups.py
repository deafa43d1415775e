"""Consumer groups of the in-memory bus: eager rebalance, as aiokafka's assignors do it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from messages.bus.protocol import Partition, RebalanceListener

SESSION_S = 6.0


@dataclass(eq=False)
class Member:
    """One member: the partitions it wants to share, those it holds, and the generation that it has joined.

    `silent_ns` is since when nobody hears of it; the group waits for it until the session has run out. `is_heir`: what
    it holds is another's of the same static name, and new to it. `is_replaced`: another of that name has come.
    """

    name: str
    wanted: Sequence[Partition]
    listener: RebalanceListener
    static_name: str | None = None
    held: list[Partition] = field(default_factory=list)
    generation: int = -1
    is_ready: bool = False
    is_heir: bool = False
    is_replaced: bool = False
    silent_ns: int | None = None


class Group:
    """Members, their partitions and committed offsets.

    A change of membership starts a new generation: every member gives up what it holds from inside its own poll, and
    only when all have done so are partitions handed out. A member that never polls again blocks that until its session
    has run out. A static member keeps its partitions over a restart inside the session: nobody else notices.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.committed: dict[Partition, int] = {}
        self.waiters: dict[asyncio.Future[bool], None] = {}
        self._members: list[Member] = []
        self._generation = 0

    def join(
        self,
        name: str,
        wanted: Sequence[Partition],
        listener: RebalanceListener,
        *,
        static_name: str | None = None,
    ) -> Member:
        """Add a member and start a new generation, or let it take the place of the static member of that name."""
        member = Member(name, wanted, listener, static_name)
        before = self._static(static_name)
        if before is None:
            self._members.append(member)
            self.rebalance()
            return member
        self._members[self._members.index(before)] = member
        before.is_replaced = True
        if before.generation == self._generation and list(before.wanted) == list(wanted):
            member.held, member.generation, member.is_heir = before.held, before.generation, True
            member.is_ready = True
        else:
            self.rebalance()
        return member

    async def leave(self, member: Member, now_ns: int) -> None:
        """Give up what the member holds, remove it and start a new generation; a static one only falls silent."""
        if member not in self._members:
            return
        held = member.held
        await self._revoke(member)
        if member.static_name is None:
            self._members.remove(member)
            self.rebalance()
        else:
            member.held = held  # for whoever comes back under the name
            self.fall_silent(member, now_ns)

    def fall_silent(self, member: Member, now_ns: int) -> None:
        """Nothing is heard of the member any more; its session runs out SESSION_S later."""
        member.silent_ns = now_ns

    def expire(self, name: str) -> None:
        """Remove members of that client as a session time-out would: nobody asks them. They come back as they poll."""
        self._remove([member for member in self._members if member.name == name])

    def rebalance(self) -> None:
        """Start a new generation: all give up what they hold, then share anew."""
        self._generation += 1
        for member in self._members:
            member.is_ready = False
        for waiter in self.waiters:
            wake(waiter)

    async def assignment(self, member: Member, now_ns: int) -> list[Partition] | None:
        """Return what the member gets in a generation that has just become complete, or None when nothing is new."""
        self._remove([m for m in self._members if m.silent_ns is not None and now_ns - m.silent_ns >= SESSION_S * 1e9])
        if member.is_replaced:
            return None
        if member not in self._members:
            await self._revoke(member)  # too late for a commit
            self._members.append(member)
            self.rebalance()
        if member.generation == self._generation:
            is_heir, member.is_heir = member.is_heir, False
            return member.held if is_heir else None
        if not member.is_ready:
            await self._revoke(member)
            member.is_ready = True
            for waiter in self.waiters:
                wake(waiter)
        if not all(other.is_ready for other in self._members):
            return None
        member.generation = self._generation
        member.held = self._share(member)
        return member.held

    def is_rebalancing(self, member: Member) -> bool:
        """Whether nothing may be delivered to the member: it waits for the others, or is a member no more."""
        return member not in self._members or member.generation != self._generation

    @property
    def waits_for_session(self) -> bool:
        """Whether a member has fallen silent, which only time will tell."""
        return any(member.silent_ns is not None for member in self._members)

    def not_held(self, member: Member, partitions: Iterable[Partition]) -> list[Partition]:
        """Return those of `partitions` that the member may not commit."""
        held = member.held if member in self._members else ()
        return [partition for partition in partitions if partition not in held]

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Store next offsets; they never move back."""
        for partition, offset in offsets.items():
            self.committed[partition] = max(offset, self.committed.get(partition, 0))

    def _static(self, static_name: str | None) -> Member | None:
        named = (member for member in self._members if static_name is not None and member.static_name == static_name)
        return next(named, None)

    def _remove(self, gone: Sequence[Member]) -> None:
        if gone:
            self._members = [member for member in self._members if member not in gone]
            self.rebalance()

    def _share(self, member: Member) -> list[Partition]:
        members = sorted(self._members, key=lambda other: other.static_name or other.name)
        partitions = sorted({partition for other in members for partition in other.wanted})
        return [p for index, p in enumerate(partitions) if members[index % len(members)] is member]

    async def _revoke(self, member: Member) -> None:
        try:
            if member.held:
                await member.listener.on_revoked(member.held)
        finally:
            member.held = []  # only now: the listener may still commit


def wake(waiter: asyncio.Future[bool]) -> None:
    """Let a waiting poll look again."""
    if not waiter.done():
        waiter.set_result(True)
