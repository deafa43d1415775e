"""The log of a run as the report needs it: what was decided on each record, and everything in order of time."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from agents.execution.ownership import batches_of, valid_records
from agents.replay.replay import logged_steps
from messages import Adjust, Cancel, Denial, LoggedStep, Order, OutcomeCode, Record, Refused, decode
from messages.decisions import BundleActivated, ControlApplied, MarketGap

Records = Callable[[str, int], Sequence[Record]]

_ASKED = frozenset({OutcomeCode.ORDER, OutcomeCode.DENIED, OutcomeCode.DEAD_BAND, OutcomeCode.OVERRIDE})


class Correction(Struct, frozen=True, kw_only=True):
    """A valid Adjust and its offset on `control`: every shard logs it, it is booked once."""

    offset: int
    adjust: Adjust


class Event(Struct, frozen=True, kw_only=True):
    """Something in the order in which a shard met it. `time_ns` is market time and never goes back in a shard."""

    time_ns: int
    item: object


class Denied(NamedTuple):
    """An order that was wanted on a market record, and not let pass. `time_ns` is market time."""

    time_ns: int
    instrument: str
    denial: Denial


class Decided(Struct, frozen=True, kw_only=True):
    """Counts over all partitions, see Summary; `denied` in order of time."""

    ticks: int
    decisions: int
    outcomes: Mapping[str, int]
    denials: Mapping[str, int]
    denied: tuple[Denied, ...]
    lost_ticks: int
    undecided_ticks: int
    gap_ticks: int


class Sent(Struct, frozen=True, kw_only=True):
    """Counts of valid records on `orders`, all partitions."""

    orders: int
    cancels: int
    duplicates: int


def messages_of(topic: str, records: Sequence[Record]) -> Iterator[tuple[Record, object]]:
    """Yield the records of a topic that can be read, with their messages."""
    for record in records:
        try:
            yield record, decode(topic, record.value, record.headers)
        except Refused:  # it is in `dead-letters` with its reason, and counted there
            continue


def count_decided(records: Records, partitions: int, *, was_stopped: bool) -> Decided:
    """Compare the offsets on `market` with those decided in `decisions`.

    After an early stop the records behind a shard's last step are undecided, otherwise they are lost.
    """
    outcomes: Counter[str] = Counter()
    denied: list[Denied] = []
    ticks = decisions = lost = undecided = gap = 0
    for number in range(partitions):
        times: Counter[int] = Counter()
        denials: list[tuple[int, Denial]] = []
        decided_to = 0
        for step in _distinct_steps(records("decisions", number)):
            begins, decided_to = _gap_to(step), max(decided_to, step.step.market_to)
            gap += begins - step.step.market_from
            for offset, decision in zip(range(begins, step.step.market_to), step.decisions, strict=False):
                times[offset] += 1
                outcomes[decision.outcome.value] += 1
                decisions += decision.outcome in _ASKED or decision.action is not None
                if decision.denial is not None:
                    denials.append((offset, decision.denial))
        market = records("market", number)
        denied += _denied(market, denials)
        ticks += len(market)
        for record in market:
            if was_stopped and record.offset >= decided_to:
                undecided += 1
            else:
                lost += times[record.offset] != 1
    return Decided(
        ticks=ticks,
        decisions=decisions,
        outcomes=dict(outcomes.most_common()),
        denials=dict(Counter(one.denial.code.value for one in denied).most_common()),
        denied=tuple(sorted(denied, key=lambda one: one.time_ns)),
        lost_ticks=lost,
        undecided_ticks=undecided,
        gap_ticks=gap,
    )


def _denied(market: Sequence[Record], denials: Iterable[tuple[int, Denial]]) -> Iterator[Denied]:
    """Yield each denial with the time and the instrument of its record; what retention took from `market` has none."""
    by_offset = dict(denials)
    wanted = [record for record in market if record.offset in by_offset]
    for record, message in messages_of("market", wanted):
        yield Denied(_time_ns(message), getattr(message, "instrument", ""), by_offset.pop(record.offset))
    yield from (Denied(0, "", denial) for denial in by_offset.values())


def count_sent(records: Records, partitions: int) -> Sent:
    """Count valid orders and cancels, and those whose id, or seq in the partition, was there before."""
    ids: set[str] = set()
    orders = cancels = duplicates = 0
    for number in range(partitions):
        seqs: set[int] = set()
        for _, message in valid_records(records("orders", number), None):
            match message:
                case Order(order_id=name, seq=seq):
                    orders += 1
                case Cancel(cancel_id=name, seq=seq):
                    cancels += 1
                case _:
                    continue
            duplicates += name in ids or seq in seqs
            ids.add(name)
            seqs.add(seq)
    return Sent(orders=orders, cancels=cancels, duplicates=duplicates)


def timeline(records: Records, partitions: int) -> Iterator[Event]:
    """Yield activations and corrections, reports and market records of all shards, merged by market time.

    Within a shard the order is that of its steps (inputs, reports, market), what no step has read comes last. `item` is
    BundleActivated, Correction, ExecutionReport, or a message of `market`.
    """
    shards = (_shard_events(records, number) for number in range(partitions))
    return heapq.merge(*shards, key=lambda event: event.time_ns)


def _shard_events(records: Records, number: int) -> Iterator[Event]:
    market = _Reader(messages_of("market", records("market", number)))
    reports = _Reader(messages_of("reports", records("reports", number)))
    now_ns = market.first_ns()
    for logged in logged_steps(records("decisions", number), records("orders", number)):
        for applied in logged.step.inputs:
            match applied:
                case BundleActivated():
                    yield Event(time_ns=now_ns, item=applied)
                case ControlApplied(offset=offset, message=Adjust() as adjust):
                    yield Event(time_ns=now_ns, item=Correction(offset=offset, adjust=adjust))
        for reader, to in ((reports, logged.step.reports_to), (market, logged.step.market_to)):
            for message in reader.until(to):
                now_ns = max(now_ns, _time_ns(message))
                yield Event(time_ns=now_ns, item=message)
    for reader in (reports, market):
        for message in reader.until(None):
            now_ns = max(now_ns, _time_ns(message))
            yield Event(time_ns=now_ns, item=message)


class _Reader:
    """Hands out a partition's messages up to an offset, and then on from there."""

    def __init__(self, messages: Iterator[tuple[Record, object]]) -> None:
        self._messages = messages
        self._next = next(messages, None)

    def first_ns(self) -> int:
        return 0 if self._next is None else _time_ns(self._next[1])

    def until(self, offset: int | None) -> Iterator[object]:
        while self._next is not None and (offset is None or self._next[0].offset < offset):
            message = self._next[1]
            self._next = next(self._messages, None)
            yield message


def _time_ns(message: object) -> int:
    time_ns = getattr(message, "ts_recv", None) or getattr(message, "ts_event", None)
    return time_ns if isinstance(time_ns, int) else 0


def _distinct_steps(decisions: Sequence[Record]) -> Iterator[LoggedStep]:
    """Yield each step; a repeat of the same step is allowed and left out, another one under its n is not."""
    seen: dict[int, LoggedStep] = {}
    for batch in batches_of(decisions, None):
        for logged in batch.steps:
            if seen.get(logged.step.n) != logged:
                seen[logged.step.n] = logged
                yield logged


def _gap_to(logged: LoggedStep) -> int:
    step = logged.step
    return max((gap.market_to for gap in step.inputs if isinstance(gap, MarketGap)), default=step.market_from)
