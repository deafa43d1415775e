"""Consumer groups of the in-memory bus: eager rebalance, as aiokafka's assignors do it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from messages.bus.protocol import Partition, RebalanceListener


@dataclass(eq=False)
class Member:
    """One member: the partitions it wants to share, those it holds, and the generation that it has joined."""

    name: str
    wanted: Sequence[Partition]
    listener: RebalanceListener
    held: list[Partition] = field(default_factory=list)
    generation: int = -1
    is_ready: bool = False


class Group:
    """Members, their partitions and committed offsets.

    A change of membership starts a new generation: every member gives up what it holds from inside its own poll, and
    only when all have done so are partitions handed out. A member that never polls again blocks that until evicted.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.committed: dict[Partition, int] = {}
        self.waiters: set[asyncio.Future[bool]] = set()
        self._members: list[Member] = []
        self._generation = 0

    def join(self, name: str, wanted: Sequence[Partition], listener: RebalanceListener) -> Member:
        """Add a member and start a new generation."""
        member = Member(name, wanted, listener)
        self._members.append(member)
        self._restart()
        return member

    async def leave(self, member: Member) -> None:
        """Give up what the member holds, remove it and start a new generation."""
        if member not in self._members:
            return
        await self._revoke(member)
        self._members.remove(member)
        self._restart()

    def evict(self, name: str) -> None:
        """Remove members of that name as a session time-out would: nobody asks them."""
        self._members = [member for member in self._members if member.name != name]
        self._restart()

    async def assignment(self, member: Member) -> list[Partition] | None:
        """Return what the member gets in a generation that has just become complete, or None when nothing is new."""
        if member not in self._members or member.generation == self._generation:
            return None
        if not member.is_ready:
            await self._revoke(member)
            member.is_ready = True
        if not all(other.is_ready for other in self._members):
            return None
        member.generation = self._generation
        member.held = self._share(member)
        return member.held

    def is_rebalancing(self, member: Member) -> bool:
        """Whether the member gave up its partitions and waits for the others to do so."""
        return member in self._members and member.generation != self._generation

    def not_held(self, member: Member, partitions: Iterable[Partition]) -> list[Partition]:
        """Return those of `partitions` that the member may not commit."""
        held = member.held if member in self._members else ()
        return [partition for partition in partitions if partition not in held]

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Store next offsets; they never move back."""
        for partition, offset in offsets.items():
            self.committed[partition] = max(offset, self.committed.get(partition, 0))

    def _share(self, member: Member) -> list[Partition]:
        members = sorted(self._members, key=lambda other: other.name)
        partitions = sorted({partition for other in members for partition in other.wanted})
        return [p for index, p in enumerate(partitions) if members[index % len(members)] is member]

    def _restart(self) -> None:
        self._generation += 1
        for member in self._members:
            member.is_ready = False

    async def _revoke(self, member: Member) -> None:
        try:
            if member.held:
                await member.listener.on_revoked(member.held)
        finally:
            member.held = []  # only now: the listener may still commit
