"""Why a market record led to an order, or to none: its outcome, and the state of the shard that it met.

The log is adopted up to that record, as in recovery, so what is shown is what the decision saw. No policy is asked.
"""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from agents.execution.shard.state import ShardState, decode_state
from agents.execution.shard.step import decided_offsets
from agents.replay.outcomes import CONTENT, DENIALS, LOST, NOT_DUE, OUTCOMES, UNDECIDED
from agents.replay.player import in_range
from agents.replay.tail import ShardLog
from agents.risk.instruments import Instrument
from agents.risk.kill_switch import TradingState, trading_state
from messages import (
    Cancel,
    Decision,
    Denial,
    ExecutionReport,
    LoggedStep,
    Order,
    OutcomeCode,
    Record,
)
from messages.control_fold import HaltBook, HaltInForce
from messages.decisions import ShadowDecision, StepInput
from messages.market import MarketMessage

_MS = 1_000_000
NewShard = Callable[[], Shard]


class Standing(Struct, frozen=True, kw_only=True):
    """What the decision met: bundle, position and open orders in units, and what held the instrument back.

    `halts` are those that count here; `unreadable` names topics that could not be read, and why; `override` is the
    position that a person wants. `in_flight_*` are the open orders, filled.
    """

    strategy: str
    bundle_id: str | None
    sha256: str | None
    position: float
    in_flight_buy: float
    in_flight_sell: float
    state: TradingState
    halts: tuple[HaltInForce, ...]
    risk_alive: bool
    is_flattening: bool
    override: float | None
    policy_errors: int
    is_disputed: bool
    unreadable: dict[str, str]


class ShadowAnswer(Struct, frozen=True, kw_only=True):
    """What the shadow bundle would have done: its answer and its target in units, or why there is none (`error`)."""

    bundle_id: str
    action: tuple[float, ...] | None
    target: float | None
    error: str | None


class Explanation(Struct, frozen=True, kw_only=True):
    """One market record and what became of it, in words and in values.

    `message` is None when the record can't be read (`unreadable` says why) or is no longer on `market`. `outcome` is
    None when no step has decided it. `age_ms` is its age on the step clock, `target` in units. `orders` were decided on
    it; `cancels` went out in its step; `reports` answer either. `standing` is None when the log does not reach back far
    enough to know, or when the record is of no instrument that is traded here.
    """

    partition: int
    offset: int
    sentence: str
    message: MarketMessage | None = None
    unreadable: str | None = None
    timestamp_ms: int | None = None
    outcome: OutcomeCode | None = None
    denial: Denial | None = None
    action: tuple[float, ...] | None = None
    target: float | None = None
    shadow: ShadowAnswer | None = None
    n: int | None = None
    clock_ns: int | None = None
    age_ms: float | None = None
    inputs: tuple[StepInput, ...] = ()
    standing: Standing | None = None
    orders: tuple[Order, ...] = ()
    cancels: tuple[Cancel, ...] = ()
    reports: tuple[ExecutionReport, ...] = ()


def explain(log: ShardLog, offsets: Sequence[int], new_shard: NewShard) -> list[Explanation]:
    """Return what became of these market offsets of one partition, in order of offset."""
    shard: Shard | None = new_shard()
    if log.checkpoint is not None and shard is not None:
        shard.restore(log.checkpoint)
    wanted = sorted(set(offsets))
    found: list[Explanation] = []
    for logged in log.steps:
        if shard is not None and shard.n != logged.step.n:
            shard = None  # the log begins in the middle: the outcomes stand in it, the state doesn't
        while wanted and wanted[0] < logged.step.market_to:
            found.append(_of_step(log, logged, wanted.pop(0), shard, new_shard))
        if not wanted:
            break
        if shard is not None:
            shard.adopt(logged, *_read(log, shard, logged))
    return found + [_undecided(log, offset, UNDECIDED) for offset in wanted]


def _of_step(log: ShardLog, logged: LoggedStep, offset: int, shard: Shard | None, new_shard: NewShard) -> Explanation:
    begins = decided_offsets(logged.step).start
    if offset < begins:
        return _undecided(log, offset, LOST)
    step, decision = logged.step, logged.decisions[offset - begins]
    record = log.market.get(offset)
    reader = new_shard()
    read = None if record is None else reader.read.market(record)
    message = None if isinstance(read, str) else read
    desk = None if message is None else reader.desks[message.instrument]
    at = None if shard is None else _state_at(log, logged, offset, shard, new_shard)
    orders = tuple(o for o in logged.orders if isinstance(o, Order) and o.source.offset == offset)
    cancels = tuple(
        o for o in logged.orders if isinstance(o, Cancel) and message is not None and o.instrument == message.instrument
    )
    target = decision.target
    return Explanation(
        partition=log.partition,
        offset=offset,
        sentence=sentence_of(decision),
        message=message,
        unreadable=read if isinstance(read, str) else None,
        timestamp_ms=None if record is None else record.timestamp_ms,
        outcome=decision.outcome,
        denial=decision.denial,
        action=decision.action,
        target=None if target is None or desk is None else desk.instrument.quantity(target),
        shadow=None if desk is None else _shadow(decision.shadow, desk.instrument),
        n=step.n,
        clock_ns=step.clock_ns,
        age_ms=None if at is None or record is None or message is None else _age_ms(at, record, step.clock_ns),
        inputs=step.inputs,
        standing=None if at is None or desk is None else _standing(at, desk.instrument, desk.strategy),
        orders=orders,
        cancels=cancels,
        reports=_reports(log, {order.order_id for order in orders} | {cancel.order_id for cancel in cancels}),
    )


def sentence_of(decision: Decision) -> str:
    """Return the outcome in words, and the denial's, with its numbers."""
    denial = decision.denial
    if decision.outcome is OutcomeCode.HOLD:
        return NOT_DUE if decision.action is None else CONTENT
    if denial is None:
        return OUTCOMES[decision.outcome]
    return f"{OUTCOMES[decision.outcome]}: {denial}, {DENIALS[denial.code]}"


def _undecided(log: ShardLog, offset: int, sentence: str) -> Explanation:
    record = log.market.get(offset)
    return Explanation(
        partition=log.partition,
        offset=offset,
        sentence=sentence,
        timestamp_ms=None if record is None else record.timestamp_ms,
    )


def _state_at(log: ShardLog, logged: LoggedStep, offset: int, shard: Shard, new_shard: NewShard) -> ShardState:
    """Return the state that the record at `offset` met: a copy of the shard goes through the step up to it."""
    begins = decided_offsets(logged.step).start
    until = LoggedStep(
        step=msgspec.structs.replace(logged.step, market_to=offset),
        decisions=logged.decisions[: offset - begins],
        orders=tuple(o for o in logged.orders if isinstance(o, Cancel) or o.source.offset < offset),
    )
    copy = new_shard()
    copy.restore(checkpoint_of(shard))
    copy.adopt(until, *_read(log, copy, until))
    return decode_state(copy.snapshot())


def _read(log: ShardLog, shard: Shard, logged: LoggedStep) -> tuple[list[Record], list[Record]]:
    step = logged.step
    return (
        in_range(log.market, step.market_from, step.market_to),
        in_range(log.reports, shard.reports_to, step.reports_to),
    )


def _age_ms(at: ShardState, record: Record, clock_ns: int) -> float:
    difference = clock_ns - record.timestamp_ms * _MS
    floor = difference if at.age_floor_ns is None else min(at.age_floor_ns, difference)
    return (difference - floor) / _MS


def _standing(at: ShardState, instrument: Instrument, strategy: str) -> Standing:
    name = instrument.instrument
    desk = at.desks[name]
    halts = HaltBook.restore(at.halts)
    scopes = {"portfolio", f"strategy:{strategy}", f"instrument:{name}"}
    unreadable = {topic: bad.reason for topic, state in at.intakes.items() if (bad := state.unreadable) is not None}
    state = trading_state(halts.level(strategy, name), at.risk_alive)
    if unreadable and state is TradingState.ACTIVE:
        state = TradingState.REDUCING
    opened = [order for order in at.open_orders if order.instrument == name]
    return Standing(
        strategy=strategy,
        bundle_id=None if desk.active is None else desk.active.bundle_id,
        sha256=None if desk.active is None else desk.active.sha256,
        position=instrument.quantity(sum(h.lots for h in at.ledger.holdings if h.instrument == name)),
        in_flight_buy=instrument.quantity(sum(order.open_lots for order in opened if order.sign > 0)),
        in_flight_sell=instrument.quantity(sum(order.open_lots for order in opened if order.sign < 0)),
        state=state,
        halts=tuple(halt for halt in halts.in_force() if halt.scope in scopes),
        risk_alive=at.risk_alive,
        is_flattening=not scopes.isdisjoint(at.flattening),
        override=None if desk.override_lots is None else instrument.quantity(desk.override_lots),
        policy_errors=desk.policy_errors,
        is_disputed=desk.is_disputed,
        unreadable=unreadable,
    )


def _shadow(shadow: ShadowDecision | None, instrument: Instrument) -> ShadowAnswer | None:
    if shadow is None:
        return None
    target = None if shadow.target is None else instrument.quantity(shadow.target)
    return ShadowAnswer(bundle_id=shadow.bundle_id, action=shadow.action, target=target, error=shadow.error)


def _reports(log: ShardLog, order_ids: set[str]) -> tuple[ExecutionReport, ...]:
    return tuple(report for report in log.answers if report.order_id in order_ids)
