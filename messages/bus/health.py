"""Health is progress: positions move while the end is ahead, sends are acknowledged. Judged here, without any I/O.

Times are ns of one steady clock, handed in. A client that nobody waits for is well whatever it does.
"""

from collections.abc import Mapping

from msgspec import Struct

from messages.bus.protocol import Partition
from messages.status import Health


class Verdict(Struct, frozen=True, kw_only=True):
    """A judgement. `since_ns` is when progress ended, on the clock of whoever asked."""

    state: Health = "ok"
    reason: str = ""
    since_ns: int = 0


WELL = Verdict()


class ReadingHealth:
    """Judges one consumer. It stalls when `stall_ns` pass without progress that was due.

    Joining a group may take `join_ns`: others may have to finish first.
    """

    def __init__(self, *, stall_ns: int, join_ns: int) -> None:
        self._stall_ns, self._join_ns = stall_ns, join_ns
        self._since: dict[Partition, tuple[int, int]] = {}  # position, and the time when all was well with it
        self._unanswered_ns: int | None = None
        self._joining_ns: int | None = None

    def idle_at(self, positions: Mapping[Partition, int]) -> list[Partition]:
        """Return the partitions whose positions have not moved since the last look: their ends are worth asking for."""
        return [partition for partition, position in positions.items() if self._position(partition) == position]

    def look(
        self,
        now_ns: int,
        *,
        is_waiting: bool,
        positions: Mapping[Partition, int] | None,
        ends: Mapping[Partition, int] | None,
        failure: str | None = None,
    ) -> Verdict:
        """Judge what is seen now.

        `positions`: of partitions that are to be read now (not the paused ones); None while the group has not yet said
        which. `ends`: as far as they were asked for; None when they were asked for without an answer. `failure`: what
        the client raised when it was asked last, if nothing but another client can mend it.
        """
        if not is_waiting:
            self._since.clear()
            self._unanswered_ns = self._joining_ns = None
            return WELL
        if failure is not None:
            return Verdict(state="stalled", reason=failure, since_ns=now_ns)
        if positions is None:
            return self._look_at_joining(now_ns)
        self._joining_ns = None
        has_moved = self._note(now_ns, positions, ends or {})
        return self._look_at_answers(now_ns, answered=has_moved or ends is not None) or self._look_at_partitions(
            now_ns, ends or {}
        )

    def _position(self, partition: Partition) -> int | None:
        known = self._since.get(partition)
        return None if known is None else known[0]

    def _note(self, now_ns: int, positions: Mapping[Partition, int], ends: Mapping[Partition, int]) -> bool:
        """Take in positions and ends; return whether any position has moved."""
        before, self._since = self._since, {}
        for partition, position in positions.items():
            known = before.get(partition)
            is_well = known is None or known[0] != position or ends.get(partition, position + 1) <= position
            self._since[partition] = (position, now_ns) if is_well or known is None else known
        return any(
            partition in before and before[partition][0] != position for partition, position in positions.items()
        )

    def _look_at_joining(self, now_ns: int) -> Verdict:
        self._since.clear()
        self._unanswered_ns = None
        self._joining_ns = now_ns if self._joining_ns is None else self._joining_ns
        if now_ns - self._joining_ns < self._join_ns:
            return WELL
        return Verdict(state="stalled", reason="the group gives no assignment", since_ns=self._joining_ns)

    def _look_at_answers(self, now_ns: int, *, answered: bool) -> Verdict | None:
        if answered:
            self._unanswered_ns = None
            return None
        self._unanswered_ns = now_ns if self._unanswered_ns is None else self._unanswered_ns
        if now_ns - self._unanswered_ns < self._stall_ns:
            return None
        return Verdict(state="stalled", reason="no broker says where the end is", since_ns=self._unanswered_ns)

    def _look_at_partitions(self, now_ns: int, ends: Mapping[Partition, int]) -> Verdict:
        stalled = [
            (since_ns, partition, position)
            for partition, (position, since_ns) in self._since.items()
            if now_ns - since_ns >= self._stall_ns and ends.get(partition, position) > position
        ]
        if not stalled:
            return WELL
        since_ns, (topic, number), position = min(stalled)
        end = ends[Partition(topic, number)]
        reason = f"{topic}-{number} stands at {position} while its end is {end}"
        return Verdict(state="stalled", reason=reason, since_ns=since_ns)


class SendingHealth:
    """Judges one producer. It stalls when nothing is acknowledged for `stall_ns` although something is under way."""

    def __init__(self, *, stall_ns: int) -> None:
        self._stall_ns = stall_ns
        self._acknowledged = 0
        self._since_ns: int | None = None

    def look(self, now_ns: int, *, acknowledged: int, pending: int, failure: str | None = None) -> Verdict:
        """Judge what is seen now. `acknowledged` counts up; `failure`: why no send can succeed any more, if so."""
        if failure is not None:
            return Verdict(state="stalled", reason=failure, since_ns=now_ns)
        if pending == 0 or acknowledged != self._acknowledged:
            self._acknowledged, self._since_ns = acknowledged, now_ns if pending else None
            return WELL
        self._since_ns = now_ns if self._since_ns is None else self._since_ns
        if now_ns - self._since_ns < self._stall_ns:
            return WELL
        return Verdict(state="stalled", reason=f"{pending} sends are not acknowledged", since_ns=self._since_ns)
