"""What happened before the Risk agent started, read from the topics and put into order.

The books stand in the newest checkpoint, or begin with the first report. What is not in them by then is gone over in
the order of time, market included, so that highs, days and losses while nobody watched count as if somebody had.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from agents.risk.instruments import NANO, Instrument
from agents.risk.watch.checkpoint import CheckpointUnusable, state_in
from agents.risk.watch.portfolio import PortfolioState, mark_ticks
from messages import (
    Alert,
    Bar,
    Bus,
    Clock,
    Consumer,
    Fatal,
    Observation,
    Partition,
    Quote,
    Record,
    Retryable,
    RiskSnapshot,
    Trade,
)
from messages.bus.reading import message_in, read_range
from messages.control import PORTFOLIO
from messages.risk import RiskCheckpoint

CONTROL = Partition("control", 0)
_RISK = Partition("risk", 0)
_SLICE_RECORDS = 50_000
_RETRY_S = 0.5
_MILLI = NANO // 1_000
_log = logging.getLogger(__name__)


class Mark(NamedTuple):
    """What an instrument was worth at a time, in price steps."""

    ts_ns: int
    instrument: str
    ticks: int


class Past(Struct, frozen=True, kw_only=True):
    """The topics up to `ends`.

    `state`: the books that the newest usable checkpoint holds, at `control_to` and `reports_to` (by partition); None:
    they are empty, at the beginnings. `lost`: what is missing between the books and the topics, in words. `alerts` are
    this agent's, oldest first.
    """

    ends: dict[Partition, int]
    state: PortfolioState | None
    control_to: int
    reports_to: dict[int, int]
    lost: tuple[str, ...]
    control: list[Record]
    reports: list[Record]
    marks: list[Mark]
    snapshot: RiskSnapshot | None
    alerts: list[Alert]

    def in_order(self) -> Iterator[tuple[int, Record | Mark | RiskSnapshot]]:
        """Yield what happened, each with its time (ns).

        What the last snapshot has seen comes before it; the rest follows in the order of time.
        """
        snapshot, seen = self.snapshot, 0
        if snapshot is not None:
            seen = snapshot.control_offset or 0
            yield from ((snapshot.ts, record) for record in self.control if record.offset < seen)
        since_ns = -1 if snapshot is None else snapshot.ts
        rest = [(record.timestamp_ms * _MILLI, 0, record) for record in self.reports]
        rest += [(record.timestamp_ms * _MILLI, 1, record) for record in self.control if record.offset >= seen]
        timed: list[tuple[int, int, Any]] = [*rest, *((mark.ts_ns, 2, mark) for mark in self.marks)]
        timed.sort(key=lambda event: event[:2])  # stable: records of one partition stay in order
        before = [event for event in timed if event[0] <= since_ns and event[1] != 1]
        yield from ((ts_ns, event) for ts_ns, _, event in before)
        if snapshot is not None:
            yield snapshot.ts, snapshot
        yield from ((max(ts_ns, since_ns), event) for ts_ns, kind, event in timed if ts_ns > since_ns or kind == 1)


async def read_past(
    bus: Bus,
    consumer: Consumer,
    instruments: Mapping[str, Instrument],
    *,
    agent_id: str,
    tail_records: int,
    mark_interval_ms: int,
) -> Past:
    """Read what is there. `tail_records`: of each partition of `market`, besides all since the last snapshot.

    Of these the last price in each `mark_interval_ms` is kept. Raises Fatal when `control` was cut: halts may be lost.
    """
    numbers = range(await bus.partition_count("reports"))
    market = [Partition("market", number) for number in numbers]
    everything = [CONTROL, _RISK, *market, *(Partition("reports", number) for number in numbers)]
    begins = await consumer.beginning_offsets(everything)
    ends = await consumer.end_offsets(everything)
    if begins[CONTROL] > 0:
        raise Fatal(
            f"control begins at offset {begins[CONTROL]}: halts from before may be lost, and nothing says which. Its "
            "retention must be -1 (`tickpilot topics check`); nothing trades until a new cluster is set up"
        )
    told = [message_in(record) for record in await read_range(bus, {_RISK: (begins[_RISK], ends[_RISK])})]
    snapshots = [m for m in told if isinstance(m, RiskSnapshot) and m.scope == PORTFOLIO]
    snapshot = snapshots[-1] if snapshots else None
    control_to, reports_to, state = _books(told, instruments, len(numbers))
    lost = tuple(_lost(begins, ends, reports_to))
    reports = {p: (max(reports_to[p.number], begins[p]), ends[p]) for p in ends if p.topic == "reports"}
    since = {} if snapshot is None else await consumer.offsets_at(market, snapshot.ts // _MILLI)
    tails = {p: (max(begins[p], since.get(p, ends[p]) - tail_records), ends[p]) for p in market}
    return Past(
        ends=ends,
        state=state,
        control_to=control_to,
        reports_to=reports_to,
        lost=lost,
        control=await read_range(bus, {CONTROL: (0, ends[CONTROL])}),
        reports=await read_range(bus, reports),
        marks=await _marks(bus, tails, instruments, mark_interval_ms),
        snapshot=snapshot,
        alerts=[m for m in told if isinstance(m, Alert) and m.agent_id == agent_id],
    )


def _books(
    told: list[object], instruments: Mapping[str, Instrument], partitions: int
) -> tuple[int, dict[int, int], PortfolioState | None]:
    """Return where the newest usable checkpoint stands, and the state in it."""
    for checkpoint in reversed([m for m in told if isinstance(m, RiskCheckpoint)]):
        try:
            state = state_in(checkpoint, instruments, partitions)
        except CheckpointUnusable as error:
            _log.warning("%s", error)
        else:
            return checkpoint.control_to, dict(enumerate(checkpoint.reports_to)), state
    return 0, dict.fromkeys(range(partitions), 0), None


def _lost(begins: Mapping[Partition, int], ends: Mapping[Partition, int], reports_to: dict[int, int]) -> Iterator[str]:
    """Yield what the topics have lost of the reports that the books still need."""
    for number, wanted in reports_to.items():
        partition = Partition("reports", number)
        if begins[partition] > wanted:
            yield _lost_reports(number, wanted, begins[partition])
        elif ends[partition] < wanted:
            yield (
                f"reports-{number} ends at offset {ends[partition]}, but the books hold what was read up to {wanted}: "
                "the topic was cut or made anew"
            )
            reports_to[number] = ends[partition]


async def lost_before(record: Record, expected: int, consumer: Consumer, clock: Clock) -> str | None:
    """Return in words what retention has deleted between the report that was expected and this one; None: nothing.

    A hole alone is no loss: transactions leave such.
    """
    if record.offset <= expected:
        return None
    partition = Partition(record.topic, record.partition)
    while True:
        try:
            begin = (await consumer.beginning_offsets([partition]))[partition]
        except Retryable as error:
            _log.warning("reports-%d: %s; trying again", record.partition, error)
            await clock.sleep(_RETRY_S)
        else:
            return _lost_reports(record.partition, expected, begin) if begin > expected else None


def _lost_reports(partition: int, wanted: int, begin: int) -> str:
    """Return in words that retention was faster than Risk."""
    return f"reports-{partition}: offsets {wanted} to {begin - 1} were deleted before they were booked"


async def _marks(
    bus: Bus, ranges: Mapping[Partition, tuple[int, int]], instruments: Mapping[str, Instrument], interval_ms: int
) -> list[Mark]:
    """Return the last price of each instrument in each interval of time; of the other records nothing is decoded."""
    found: dict[tuple[bytes | None, int], Mark] = {}
    for partition, (begin, end) in ranges.items():
        for low in range(begin, end, _SLICE_RECORDS):
            marked: set[tuple[bytes | None, int]] = set()
            for record in reversed(await read_range(bus, {partition: (low, min(low + _SLICE_RECORDS, end))})):
                key = record.key, record.timestamp_ms // max(interval_ms, 1)
                if key not in marked and (mark := mark_in(record, instruments)) is not None:
                    marked.add(key)
                    found[key] = mark
    return sorted(found.values())


def mark_in(record: Record, instruments: Mapping[str, Instrument]) -> Mark | None:
    """Return the price that a record of `market` holds; None: there is none, or its key is not the instrument."""
    tick = message_in(record)
    if not isinstance(tick, Quote | Trade | Bar | Observation) or tick.instrument.encode() != record.key:
        return None  # no good record: Execution parks it
    ticks = mark_ticks(tick, instruments)
    return None if ticks is None else Mark(record.timestamp_ms * _MILLI, tick.instrument, ticks)
