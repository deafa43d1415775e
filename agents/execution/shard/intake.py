"""How much of what comes in can't be read: past a limit the shard trades carefully until the topic is good again. Pure.

Too many unreadable records in a row, or too large a share of the last ones, and only orders that reduce a position
pass. It ends by itself: `hold_ms` later at the earliest, once the share among the last `min_records` is at most half
the limit. So nobody who may write to a topic can stop the process, or make it forget its positions, with garbage.
"""

from collections import deque
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from messages import Record

UNKNOWN_TYPE, UNTRADED = "unknown type", "unknown instrument (no reference data or no strategy in the settings)"
_MS = 1_000_000
_REASON_CHARACTERS = 200


class DeadLetterLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a topic counts as unreadable; the same numbers for `market` and `reports` of a shard.

    `max_run`: unreadable records in a row. `max_ratio`: their share (fraction) of the last `window_records`, judged
    from `min_records` on. `hold_ms`: it stays so at least that long, on the clock of the steps.
    """

    max_run: Annotated[int, Meta(ge=1, le=1_000_000)] = 50
    max_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.2
    window_records: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    min_records: Annotated[int, Meta(ge=1, le=10_000)] = 100
    hold_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 10_000


class Unreadable(Struct, frozen=True, kw_only=True):
    """Since when a topic is unreadable, and why. Times on the step clock, ns; `count` records since `first_offset`."""

    since_ns: int
    first_offset: int
    count: int
    reason: str


class IntakeState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was seen of one topic, as it stands in checkpoints. `bad` are (number, offset) within the window."""

    seen: int = 0
    run: int = 0
    bad: tuple[tuple[int, int], ...] = ()
    unreadable: Unreadable | None = None


class Turn(Struct, frozen=True, kw_only=True):
    """A topic became unreadable (`has_begun`), or is good again: what an Alert tells."""

    topic: str
    at_ns: int
    has_begun: bool
    unreadable: Unreadable


class Intake:
    """Counts the records of one topic of one shard in the order of their offsets."""

    def __init__(self, topic: str, limits: DeadLetterLimits, state: IntakeState | None = None) -> None:
        state = state or IntakeState()
        self._topic, self._limits = topic, limits
        self._seen, self._run = state.seen, state.run
        self._bad: deque[tuple[int, int]] = deque(state.bad)
        self.unreadable: Unreadable | None = state.unreadable

    def good(self, now_ns: int) -> Turn | None:
        """Count a record that could be read."""
        self._seen += 1
        self._run = 0
        if not self._bad and self.unreadable is None:  # nearly always
            return None
        return self._judge(now_ns, None, -1)

    def bad(self, offset: int, reason: str, now_ns: int) -> Turn | None:
        """Count a record that went to `dead-letters`."""
        self._seen += 1
        self._run += 1
        self._bad.append((self._seen, offset))
        return self._judge(now_ns, reason[:_REASON_CHARACTERS], offset)

    def _judge(self, now_ns: int, reason: str | None, offset: int) -> Turn | None:
        limits, bad = self._limits, self._bad
        window = limits.window_records if self.unreadable is None else limits.min_records
        while bad and bad[0][0] <= self._seen - window:
            bad.popleft()
        if self.unreadable is not None:
            return self._judge_recovery(self.unreadable, now_ns, reason)
        if reason is None:
            return None
        records = min(self._seen, window)
        is_too_many = records >= limits.min_records and len(bad) > limits.max_ratio * records
        if self._run < limits.max_run and not is_too_many:
            return None
        first = bad[0][1] if bad else offset
        self.unreadable = Unreadable(since_ns=now_ns, first_offset=first, count=max(len(bad), self._run), reason=reason)
        self._restart()
        return Turn(topic=self._topic, at_ns=now_ns, has_begun=True, unreadable=self.unreadable)

    def _judge_recovery(self, was: Unreadable, now_ns: int, reason: str | None) -> Turn | None:
        limits = self._limits
        if reason is not None:
            self.unreadable = Unreadable(
                since_ns=was.since_ns, first_offset=was.first_offset, count=was.count + 1, reason=reason
            )
            return None
        is_good = self._seen >= limits.min_records and len(self._bad) <= limits.max_ratio / 2 * limits.min_records
        if not is_good or now_ns - was.since_ns < limits.hold_ms * _MS:
            return None
        self.unreadable = None
        self._restart()
        return Turn(topic=self._topic, at_ns=now_ns, has_begun=False, unreadable=was)

    def _restart(self) -> None:
        """Judge what comes from here on: the records that led here have had their say."""
        self._seen = self._run = 0
        self._bad.clear()

    def snapshot(self) -> IntakeState:
        """Return the state, equal for equal histories."""
        return IntakeState(seen=self._seen, run=self._run, bad=tuple(self._bad), unreadable=self.unreadable)


class Intakes:
    """The intakes of a shard: one for each topic whose records may be refused. `is_blind`: one is unreadable."""

    def __init__(self, limits: DeadLetterLimits, states: Mapping[str, IntakeState] | None = None) -> None:
        states = states or {}
        self._by_topic = {topic: Intake(topic, limits, states.get(topic)) for topic in ("market", "reports")}
        self._turns: list[Turn] = []
        self.is_blind = bool(self.unreadable)

    @property
    def unreadable(self) -> dict[str, Unreadable]:
        """The topics that are unreadable, and why."""
        return {topic: bad for topic, intake in self._by_topic.items() if (bad := intake.unreadable) is not None}

    def judge(self, record: Record, read: object, now_ns: int) -> None:
        """Count a record; `read` is its message, or text: why there is none.

        An unknown type is a newer writer's, and a feed may bring more instruments than are traded here: neither says
        that the topic can't be read.
        """
        intake = self._by_topic[record.topic]
        if not isinstance(read, str):
            turn = intake.good(now_ns)
        elif read.startswith((UNKNOWN_TYPE, UNTRADED)):
            return
        else:
            turn = intake.bad(record.offset, read, now_ns)
        if turn is not None:
            self._turns.append(turn)
            self.is_blind = bool(self.unreadable)

    def take_turns(self) -> list[Turn]:
        """Return, once, what has turned since the last call."""
        turns, self._turns = self._turns, []
        return turns

    def snapshot(self) -> dict[str, IntakeState]:
        """Return the states, equal for equal histories."""
        return {topic: intake.snapshot() for topic, intake in self._by_topic.items()}
