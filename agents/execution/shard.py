"""The shard: the whole state of one partition, and `step`, the only way to change it.

Synchronous and pure: no await, no clock, no I/O. Live, replay and recovery run this code; recovery hands in what the
log says (`adopt`) where live asks the policy (`step`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from agents.errors import SettingsError
from agents.execution import hot_path
from agents.execution.errors import StepOutOfTurn
from agents.execution.orders import OpenOrders
from agents.execution.records import ShardReader, Tick
from agents.execution.state import DeskState, ShardState, decode_state, encode_state
from agents.execution.step import Desk, ServingBundle, ShardConfig, new_desk
from agents.risk.gate import Gate, Proposal, View
from agents.risk.instruments import MAX_STEPS
from agents.risk.kill_switch import TradingState, trading_state
from agents.risk.ledger import BadReport, Ledger
from agents.risk.limits import Limits as LimitsFile
from messages import (
    Bar,
    Cancel,
    Checkpoint,
    Decision,
    Denial,
    DenialCode,
    ExecutionReport,
    LoggedStep,
    Observation,
    Order,
    Quote,
    Record,
    Step,
    Trade,
    order_id,
)
from messages.control import ControlMessage, Flatten, Halt, Limits, LogStarted, Override, Resume
from messages.control_fold import ActiveBundle, HaltBook
from messages.decisions import BundleActivated, ControlApplied, MarketGap, RiskAlive, StepInput
from messages.orders import Source

NO_LOG = ""
_MS = 1_000_000


class Shard:
    """One partition's state. `bundles` is looked up by digest; who stages adds to it."""

    def __init__(
        self,
        config: ShardConfig,
        *,
        limits: LimitsFile,
        bundles: Mapping[str, ServingBundle],
        partitions: int,
        cash_nanos: int = 0,
    ) -> None:
        self.partition = config.partition
        self.n = 0
        self.market_to = 0
        self.reports_to = 0
        self.control_to = 0
        self.clock_ns = 0
        self._config = config
        self._bundles = bundles
        self._desks = {
            name: new_desk(instrument, config.strategies[name])
            for name, instrument in config.instruments.items()
            if name in config.strategies
        }
        self.read = ShardReader(partition=config.partition, partitions=partitions, desks=self._desks)
        self._ledger = Ledger(config.instruments, cash_nanos=cash_nanos)
        self._limits, self._limit_changes = limits, dict[str, float]()
        self._gate = Gate(limits, config.instruments)
        self._halts = HaltBook()
        self._open = OpenOrders()
        self._flattening: set[str] = set()
        self._risk_alive = False
        self._log_id = NO_LOG
        self._next_seq = 0
        self._age_floor_ns: int | None = None
        self.epoch = 0

    @property
    def desks(self) -> Mapping[str, Desk]:
        """The shard's instruments."""
        return self._desks

    @property
    def has_open_orders(self) -> bool:
        """Whether the venue still has to answer something."""
        return bool(self._open)

    @property
    def ledger(self) -> Ledger:
        """The shard's books."""
        return self._ledger

    def step(self, step: Step, market: Sequence[Record], reports: Sequence[Record]) -> LoggedStep:
        """Apply inputs, reports and market records in this order, decide, and return all that came of it.

        `market` are the records of [market_from, market_to), `reports` those up to `reports_to`. Raises StepOutOfTurn,
        with nothing changed, when the step is not the next one.
        """
        messages = self._begin(step, market, reports)
        orders: list[Order | Cancel] = self._cancels(step.clock_ns)
        newest = {m.instrument: index for index, m in enumerate(messages) if not isinstance(m, str)}
        decisions = []
        for index, (record, message) in enumerate(zip(market, messages, strict=True)):
            if isinstance(message, str):
                decisions.append(hot_path.REFUSED)
                continue
            desk = self._observe(record, message, step.clock_ns)
            age_ns = self._aged(record, step.clock_ns)
            if self._config.decisions.conflate and newest[message.instrument] != index:
                decisions.append(hot_path.CONFLATED)
                continue
            decision, order = self._decide(desk, record, message, age_ns, step.clock_ns)
            self._decided(desk, decision)
            decisions.append(decision)
            if order is not None:
                orders.append(order)
        self._end(step)
        return LoggedStep(step=step, decisions=tuple(decisions), orders=tuple(orders))

    def adopt(self, logged: LoggedStep, market: Sequence[Record], reports: Sequence[Record]) -> None:
        """Apply a step as the log says it went. What retention has removed of `market` is missing from the rings."""
        messages = self._begin(logged.step, market, reports)
        now_ns = logged.step.clock_ns
        for cancel in [order for order in logged.orders if isinstance(order, Cancel)]:
            self._sent(cancel, now_ns)
        orders = [order for order in logged.orders if isinstance(order, Order)]
        decisions = dict(zip(_offsets(logged.step), logged.decisions, strict=True))
        for record, message in zip(market, messages, strict=True):
            if isinstance(message, str):
                continue
            desk = self._observe(record, message, now_ns)
            self._aged(record, now_ns)
            while orders and orders[0].source.offset <= record.offset:
                self._sent(orders.pop(0), now_ns)
            self._decided(desk, decisions[record.offset])
        for order in orders:
            self._sent(order, now_ns)
        self._end(logged.step)

    def _begin(self, step: Step, market: Sequence[Record], reports: Sequence[Record]) -> list[Tick | str]:
        if step.n != self.n or step.market_from != self.market_to or step.clock_ns < self.clock_ns:
            raise StepOutOfTurn(
                self.partition,
                f"step n={step.n} market_from={step.market_from} clock_ns={step.clock_ns} after n={self.n - 1} "
                f"market_to={self.market_to} clock_ns={self.clock_ns}",
            )
        for applied in step.inputs:
            self._apply_input(applied)
        for record in reports:
            self._apply_report(record, step.clock_ns)
        return [self.read.market(record) for record in market]

    def _end(self, step: Step) -> None:
        self.n, self.market_to = step.n + 1, step.market_to
        self.reports_to, self.clock_ns = step.reports_to, step.clock_ns

    def _observe(self, record: Record, message: Tick, now_ns: int) -> Desk:
        desk = self._desks[message.instrument]
        desk.quotes_waited += type(message) is not Trade
        if isinstance(message, Observation):
            return desk
        desk.ring.push(message)
        desk.offsets.append(record.offset)
        instrument = desk.instrument
        if type(message) is Quote and 0 < message.bid <= message.ask:
            desk.bid_ticks, desk.ask_ticks = instrument.ticks(message.bid), instrument.ticks(message.ask)
            desk.reference_ns = now_ns
        elif type(message) is Bar:
            desk.bid_ticks = desk.ask_ticks = instrument.ticks(message.close)
            desk.reference_ns = now_ns
        return desk

    def _decide(
        self, desk: Desk, record: Record, message: Tick, age_ns: int, now_ns: int
    ) -> tuple[Decision, Order | None]:
        if age_ns > self._config.decisions.max_decision_age_ms * _MS:
            return hot_path.STALE, None
        if self._log_id == NO_LOG:
            return hot_path.NO_BUNDLE, None
        name = desk.instrument.instrument
        buy, sell = self._open.in_flight(name)
        position = self._ledger.position_lots(name)
        account = hot_path.Account(
            position_lots=position,
            effective_lots=position + buy - sell,
            entry_price=(self._ledger.average_price(name) or 0.0) if position else 0.0,
        )
        bundle = self._bundles.get(desk.active.sha256) if desk.active else None
        desk.is_flattening = self._is_flattening(desk)
        decision, proposal = hot_path.decide(
            desk, bundle, message, account, now_ns, lambda proposal: self._check(desk, bundle, proposal, now_ns)
        )
        if proposal is None:
            return decision, None
        order = self._order(desk, proposal, record, now_ns)
        self._sent(order, now_ns)
        return decision, order

    def _aged(self, record: Record, now_ns: int) -> int:
        """Return the record's age, against the running minimum: the broker's clock may differ from ours."""
        difference = now_ns - record.timestamp_ms * _MS
        self._age_floor_ns = difference if self._age_floor_ns is None else min(self._age_floor_ns, difference)
        return difference - self._age_floor_ns

    def _check(self, desk: Desk, bundle: ServingBundle | None, proposal: Proposal, now_ns: int) -> Denial | None:
        return self._gate.check(proposal, self._view(desk, bundle), now_ns)

    def _view(self, desk: Desk, bundle: ServingBundle | None) -> View:
        name = desk.instrument.instrument
        buy, sell = self._open.in_flight(name)
        others = [self._exposure(other) for other in self._desks.values() if other is not desk]
        opened = list(self._open.of(name))
        return View(
            position_lots=self._ledger.position_lots(name),
            open_buy_lots=buy,
            open_sell_lots=sell,
            open_orders=len(opened),
            bid_ticks=desk.bid_ticks,
            ask_ticks=desk.ask_ticks,
            reference_ts_ns=desk.reference_ns,
            state=self._state(desk),
            awaiting_report=desk.is_disputed or any(o.is_cancel_asked and not o.is_answered for o in opened),
            is_flattening=desk.is_flattening,
            other_gross_exposure_nanos=sum(max(abs(low), abs(high)) for low, high in others),
            other_net_exposure_nanos=sum(max(low, high, key=abs) for low, high in others),
            bundle_limits=bundle.limits if bundle else {},
        )

    def _exposure(self, desk: Desk) -> tuple[int, int]:
        """Return the desk's signed value (1e-9) with all open sells filled, and with all open buys filled."""
        name, doubled = desk.instrument.instrument, desk.mark_ticks_doubled
        position = self._ledger.position_lots(name)
        buy, sell = self._open.in_flight(name)
        if doubled is None or not (position or buy or sell):
            return 0, 0
        half_value = doubled * desk.instrument.nanos_per_tick_lot
        return (position - sell) * half_value // 2, (position + buy) * half_value // 2

    def _state(self, desk: Desk) -> TradingState:
        return trading_state(self._halts.level(desk.strategy, desk.instrument.instrument), self._risk_alive)

    def _is_flattening(self, desk: Desk) -> bool:
        scopes = {"portfolio", f"strategy:{desk.strategy}", f"instrument:{desk.instrument.instrument}"}
        return not scopes.isdisjoint(self._flattening)

    def _order(self, desk: Desk, proposal: Proposal, record: Record, now_ns: int) -> Order:
        source = Source(topic=record.topic, partition=record.partition, offset=record.offset)
        index = desk.orders_of_source if desk.source == record.offset else 0
        instrument = desk.instrument
        bundle = self._bundles.get(desk.active.sha256) if desk.active else None
        is_limit = proposal.order_type == "limit"
        return Order(
            order_id=order_id(self._log_id, desk.strategy, instrument.instrument, source, index),
            seq=self._next_seq,
            epoch=self.epoch,
            instrument=instrument.instrument,
            side=proposal.side,
            quantity=instrument.quantity(proposal.lots),
            order_type=proposal.order_type,
            time_in_force=bundle.actions.time_in_force if bundle and is_limit else "IOC",
            strategy=desk.strategy,
            bundle_id=desk.active.bundle_id if desk.active else "none",
            source=source,
            ts_decided=now_ns,
            limit_price=None if proposal.limit_ticks is None else instrument.price(proposal.limit_ticks),
            reduce_only=proposal.reduce_only,
        )

    def _cancels(self, now_ns: int) -> list[Order | Cancel]:
        """Cancel what the venue does not answer, and all that is open where trading is halted or flattened."""
        timeout_ns = self._config.decisions.order_timeout_ms * _MS
        cancels: list[Order | Cancel] = []
        if not self._open:
            return cancels
        for order in [order for order in self._open if not order.is_cancel_asked]:
            desk = self._desks[order.instrument]
            if self._state(desk) is TradingState.HALTED:
                reason = "halted"
            elif self._is_flattening(desk) and not order.is_answered:
                reason = "flatten"
            elif not order.is_answered and now_ns - order.sent_ns > timeout_ns:
                reason = "no answer in time"
            else:
                continue
            cancel = Cancel(
                cancel_id=f"{order.order_id}-C",
                seq=self._next_seq,
                epoch=self.epoch,
                order_id=order.order_id,
                instrument=order.instrument,
                reason=reason,
            )
            self._sent(cancel, now_ns)
            cancels.append(cancel)
        return cancels

    def _sent(self, message: Order | Cancel, now_ns: int) -> None:
        self._next_seq = message.seq + 1
        if isinstance(message, Cancel):
            self._open.cancel_asked(message)
            self._gate.record_cancel(now_ns)
            return
        desk = self._desks[message.instrument]
        desk.orders_of_source = desk.orders_of_source + 1 if desk.source == message.source.offset else 1
        desk.source = message.source.offset
        instrument = desk.instrument
        self._open.add(message, instrument, now_ns)
        self._gate.record(
            Proposal(
                instrument=message.instrument,
                strategy=message.strategy,
                side=message.side,
                lots=instrument.lots(message.quantity) or 0,
                order_type=message.order_type,
                limit_ticks=None if message.limit_price is None else instrument.ticks(message.limit_price),
                reduce_only=message.reduce_only,
            ),
            self._view(desk, None),
            now_ns,
        )

    def _decided(self, desk: Desk, decision: Decision) -> None:
        """Count policy errors; too many in a row bring the previous bundle back, or none: then the desk goes flat."""
        if decision.denial is None or decision.denial.code is not DenialCode.POLICY_ERROR:
            if decision.action is not None:
                desk.policy_errors = desk.quotes_waited = 0
            return
        desk.policy_errors += 1
        if desk.policy_errors >= self._config.decisions.max_policy_errors:
            desk.policy_errors = 0
            if desk.previous is not None:
                desk.active, desk.previous = desk.previous, None
            else:
                desk.override_lots = 0

    def _apply_input(self, applied: StepInput) -> None:
        match applied:
            case ControlApplied(offset=offset, message=message):
                self._apply_control(offset, message)
            case BundleActivated():
                desk = self._desks.get(applied.instrument)
                if desk is not None and (desk.active is None or desk.active.offset < applied.offset):
                    desk.previous = desk.active
                    desk.policy_errors = 0
                    desk.active = ActiveBundle(
                        bundle_id=applied.bundle_id, sha256=applied.sha256, offset=applied.offset
                    )
            case RiskAlive(alive=alive):
                self._risk_alive = alive
            case _:  # MarketGap is in the step's range, Timer is time alone
                pass

    def _apply_control(self, offset: int, message: ControlMessage) -> None:
        if offset < self.control_to:
            return
        self.control_to = offset + 1
        match message:
            case LogStarted(log_id=log_id):
                self._log_id = log_id
            case Halt():
                self._halts.apply(offset, message)
            case Resume():
                self._halts.apply(offset, message)
                for name, desk in self._desks.items():
                    if message.scope in {"portfolio", f"strategy:{desk.strategy}", f"instrument:{name}"}:
                        self._gate.release(desk.strategy, name)
            case Limits():
                self._change_limits(message)
            case Flatten(scope=scope, on=on):
                (self._flattening.add if on else self._flattening.discard)(scope)
            case Override():
                self._override(message)
            case _:
                pass

    def _override(self, message: Override) -> None:
        desk = self._desks.get(message.instrument)
        if desk is not None and desk.strategy == message.strategy:
            lots = None if message.target is None else message.target / desk.instrument.quantity_step
            if lots is None or abs(lots) <= MAX_STEPS:  # else it is void: one bad record must not stop the shard
                desk.override_lots = None if lots is None else round(lots)

    def _change_limits(self, message: Limits) -> None:
        """An impossible change is void here as everywhere: one bad record must not stop every shard."""
        changes = self._limit_changes | message.changes
        with suppress(SettingsError):
            self._gate.set_limits(self._limits.changed(changes))
            self._limit_changes = changes

    def _limits_now(self) -> LimitsFile:
        return self._limits.changed(self._limit_changes) if self._limit_changes else self._limits

    def _apply_report(self, record: Record, now_ns: int) -> None:
        message = self.read.report(record)
        if not isinstance(message, ExecutionReport):
            return
        desk = self._desks[message.instrument]
        before = self._ledger.position_lots(message.instrument)
        try:
            self._ledger.apply(message)
        except BadReport:
            desk.is_disputed = True
            return
        self._open.apply(message, desk.instrument)
        if (after := self._ledger.position_lots(message.instrument)) != before and (before == 0 or after * before < 0):
            desk.held_since_ns = now_ns

    def refill(self, records: Iterable[Record]) -> None:
        """Put ticks from before the checkpoint back into the rings."""
        for record in records:
            message = self.read.market(record)
            if isinstance(message, Quote | Trade | Bar):
                desk = self._desks[message.instrument]
                desk.ring.push(message)
                desk.offsets.append(record.offset)

    @property
    def ring_from(self) -> int:
        """The oldest market offset that a ring still holds."""
        return min((desk.offsets[0] for desk in self._desks.values() if desk.offsets), default=self.market_to)

    def snapshot(self) -> bytes:
        """Return the state's bytes, equal for equal histories."""
        state = ShardState(
            log_id=self._log_id,
            next_seq=self._next_seq,
            control_to=self.control_to,
            risk_alive=self._risk_alive,
            flattening=tuple(sorted(self._flattening)),
            limit_changes=self._limit_changes,
            age_floor_ns=self._age_floor_ns,
            ledger=self._ledger.snapshot(),
            gate=self._gate.snapshot(),
            halts=self._halts.snapshot(),
            open_orders=self._open.snapshot(),
            desks={
                name: msgspec.convert(desk, DeskState, from_attributes=True)
                for name, desk in sorted(self._desks.items())
            },
        )
        return encode_state(state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint's state over; the rings are still empty. Raises StateUnreadable, with nothing changed."""
        state = decode_state(checkpoint.state)
        self.n, self.market_to, self.reports_to = checkpoint.n, checkpoint.market_to, checkpoint.reports_to
        self.clock_ns = checkpoint.clock_ns
        self.control_to, self._log_id, self._next_seq = state.control_to, state.log_id, state.next_seq
        self._limit_changes = dict(state.limit_changes)
        self._risk_alive, self._flattening = state.risk_alive, set(state.flattening)
        self._age_floor_ns = state.age_floor_ns
        self._ledger = Ledger.restore(state.ledger, self._config.instruments)
        self._gate = Gate.restore(state.gate, self._limits_now(), self._config.instruments)
        self._halts = HaltBook.restore(state.halts)
        self._open.restore(state.open_orders)
        for name, desk_state in state.desks.items():
            if (desk := self._desks.get(name)) is not None:
                for field in DeskState.__struct_fields__:
                    setattr(desk, field, getattr(desk_state, field))


def _offsets(step: Step) -> range:
    gap_to = max((g.market_to for g in step.inputs if isinstance(g, MarketGap)), default=step.market_from)
    return range(gap_to, step.market_to)
