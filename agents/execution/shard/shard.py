"""The shard: the whole state of one partition, and `step`, the only way to change it.

Synchronous and pure: no await, no clock, no I/O. Live, replay and recovery run this code; recovery hands in what the
log says (`adopt`) where live asks the policy (`step`).
"""

from collections.abc import Iterable, Mapping, Sequence

from agents.execution.errors import StepOutOfTurn
from agents.execution.shard import hot_path, shadow
from agents.execution.shard.account import Account
from agents.execution.shard.booking import book, correct
from agents.execution.shard.desk import Desk, Tick, count, new_desk, next_index, take_in
from agents.execution.shard.inputs import apply_input
from agents.execution.shard.intake import Intakes
from agents.execution.shard.notices import Notice, fell_back, throttled, unanswered
from agents.execution.shard.orders import NO_ANSWER, OpenOrders, new_cancel, new_order, open_order, proposal_of
from agents.execution.shard.reasons import named
from agents.execution.shard.records import ShardReader
from agents.execution.shard.state import ShardState, decode_state, encode_state, restore_desk, state_of
from agents.execution.shard.step import ServingBundle, ShardConfig, decided_offsets
from agents.execution.shard.switches import NO_LOG, Switches
from agents.execution.shard.tally import Tally
from agents.execution.shard.views import view_of
from agents.risk.gate import Gate, Proposal
from agents.risk.kill_switch import TradingState
from agents.risk.ledger import Ledger
from agents.risk.limits.file import Limits as LimitsFile
from agents.risk.limits.in_force import Share
from messages import (
    Bar,
    Cancel,
    Checkpoint,
    Decision,
    Denial,
    ExecutionReport,
    LoggedStep,
    Order,
    Quote,
    Record,
    Step,
    Trade,
)
from messages.control_fold import ActiveBundle

_MS = 1_000_000


class Shard:
    """One partition's state. `bundles` is looked up by digest; who stages adds to it. `tally` is for heartbeats."""

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
        self.clock_ns = 0
        self._config = config
        self._max_policy_errors = config.decisions.max_policy_errors
        self._bundles = bundles
        self._desks = {
            name: new_desk(instrument, config.strategies[name])
            for name, instrument in config.instruments.items()
            if name in config.strategies
        }
        self.read = ShardReader(partition=config.partition, partitions=partitions, desks=self._desks)
        self._ledger = Ledger(config.instruments, cash_nanos=cash_nanos)
        self._switches = Switches(limits, partition=config.partition, partitions=partitions)
        self._gate = Gate(self._switches.limits(), config.instruments)
        self._open = OpenOrders()
        self._next_seq = 0
        self._age_floor_ns: int | None = None
        self.epoch = 0
        self._intakes = Intakes(config.decisions.dead_letters)
        self._notices: list[Notice] = []
        self.tally = Tally()

    @property
    def control_to(self) -> int:
        """The first offset of `control` that has not been applied."""
        return self._switches.control_to

    @property
    def intakes(self) -> Intakes:
        """How well `market` and `reports` can be read."""
        return self._intakes

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

    @property
    def throttled(self) -> tuple[str, ...]:
        """The instruments whose repeated-execution throttle has closed, and no Halt has taken its place yet."""
        return tuple(name for name, desk in self._desks.items() if self._gate.is_latched(desk.strategy, name))

    @property
    def share(self) -> Share:
        """What the shard may use of the portfolio's exposure limits."""
        return self._switches.share

    def take_notices(self) -> list[Notice]:
        """Return, once, what people should know since the last call."""
        notices, self._notices = [*self._intakes.take_turns(), *self._notices], []
        return notices

    def step(self, step: Step, market: Sequence[Record], reports: Sequence[Record]) -> LoggedStep:
        """Apply inputs, reports and market records in this order, decide, and return all that came of it.

        `market` are the records of [market_from, market_to), `reports` those up to `reports_to`. Raises StepOutOfTurn,
        with nothing changed, when the step is not the next one.
        """
        messages = self._begin(step, market, reports)
        orders: list[Order | Cancel] = self._cancels(step.clock_ns)
        if len(market) > 1 and self._config.decisions.conflate:
            decisions = self._decide_newest(market, messages, orders, step.clock_ns)
        else:
            decisions = self._decide_each(market, messages, orders, step.clock_ns)
        self._end(step)
        return LoggedStep(step=step, decisions=tuple(decisions), orders=tuple(orders))

    def _decide_each(
        self, market: Sequence[Record], messages: Sequence[Tick | str], orders: list[Order | Cancel], now_ns: int
    ) -> list[Decision]:
        decisions = []
        for record, message in zip(market, messages, strict=True):
            age_ns = self._take_in(record, message, now_ns)
            if isinstance(message, str):
                decisions.append(hot_path.REFUSED)
                continue
            desk = self._desks[message.instrument]
            wish = hot_path.wish_for(desk, self._question(desk, message, age_ns, now_ns))
            decisions.append(self._carry_out(desk, wish, record, message, orders, now_ns))
        return decisions

    def _decide_newest(
        self, market: Sequence[Record], messages: Sequence[Tick | str], orders: list[Order | Cancel], now_ns: int
    ) -> list[Decision]:
        """Take in all records, then decide the newest of each instrument; instruments that are due are asked together.

        Nothing that a question depends on is changed by another instrument's order; the gate is told of those before.
        """
        newest = {message.instrument: index for index, message in enumerate(messages) if not isinstance(message, str)}
        decisions = [hot_path.CONFLATED] * len(market)
        due: list[tuple[int, Desk, Tick, hot_path.Question]] = []
        for index, (record, message) in enumerate(zip(market, messages, strict=True)):
            age_ns = self._take_in(record, message, now_ns)
            if isinstance(message, str):
                decisions[index] = hot_path.REFUSED
            elif newest[message.instrument] == index:
                desk = self._desks[message.instrument]
                due.append((index, desk, message, self._question(desk, message, age_ns, now_ns)))
        wishes = hot_path.wishes_for([(desk, asked) for _, desk, _, asked in due])
        for (index, desk, message, _), wish in zip(due, wishes, strict=True):
            decisions[index] = self._carry_out(desk, wish, market[index], message, orders, now_ns)
        return decisions

    def _take_in(self, record: Record, message: Tick | str, now_ns: int) -> int:
        """Show a market record to its desk, if it can be read; return its age.

        Age is judged against the running minimum: the broker's clock may differ from ours.
        """
        self._intakes.judge(record, message, now_ns)
        if isinstance(message, str):
            return 0
        take_in(self._desks[message.instrument], message, record.offset, now_ns)
        difference = now_ns - record.timestamp_ms * _MS
        if self._age_floor_ns is None or difference < self._age_floor_ns:
            self._age_floor_ns = difference
        return difference - self._age_floor_ns

    def adopt(self, logged: LoggedStep, market: Sequence[Record], reports: Sequence[Record]) -> None:
        """Apply a step as the log says it went. What retention has removed of `market` is missing from the rings."""
        messages = self._begin(logged.step, market, reports)
        now_ns = logged.step.clock_ns
        for cancel in [order for order in logged.orders if isinstance(order, Cancel)]:
            self._sent(cancel, now_ns)
        orders = [order for order in logged.orders if isinstance(order, Order)]
        decisions = dict(zip(decided_offsets(logged.step), logged.decisions, strict=True))
        for record, message in zip(market, messages, strict=True):
            self._take_in(record, message, now_ns)
            if isinstance(message, str):
                continue
            while orders and orders[0].source.offset <= record.offset:
                self._sent(orders.pop(0), now_ns)
            desk, decision = self._desks[message.instrument], decisions[record.offset]
            if (failed := count(desk, decision, self._max_policy_errors)) is not None:
                self._notices.append(fell_back(desk, failed, self._max_policy_errors, record.offset, now_ns))
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
        if step.inputs:
            for applied in step.inputs:
                correct(applied, self._desks, self._ledger, control_to=self.control_to, now_ns=step.clock_ns)
                apply_input(applied, self._desks, self._switches, self._gate)
            self._switch_desks()
        for record in reports:
            self._apply_report(record, step.clock_ns)
        return [self.read.market(record) for record in market]

    def _end(self, step: Step) -> None:
        self.n, self.market_to = step.n + 1, step.market_to
        self.reports_to, self.clock_ns = step.reports_to, step.clock_ns

    def _question(self, desk: Desk, message: Tick, age_ns: int, now_ns: int) -> hot_path.Question:
        if age_ns > self._config.decisions.max_decision_age_ms * _MS:
            return hot_path.STALE
        if self._switches.log_id == NO_LOG:
            return hot_path.NO_BUNDLE
        return hot_path.question(desk, self._bundle_of(desk.active), message, now_ns)

    def _bundle_of(self, named: ActiveBundle | None) -> ServingBundle | None:
        return None if named is None else self._bundles.get(named.sha256)

    def _carry_out(
        self,
        desk: Desk,
        wish: hot_path.Wish | Decision,
        record: Record,
        message: Tick,
        orders: list[Order | Cancel],
        now_ns: int,
    ) -> Decision:
        """Return what becomes of a wish; an order that passes the gate is among `orders` then."""
        watching = None if wish is hot_path.STALE else desk.shadow
        beside = None if watching is None else shadow.answer(desk, self._bundle_of(watching), message, now_ns)
        bundle = self._bundle_of(desk.active)
        if isinstance(wish, Decision):
            decision = wish
        elif (
            proposal := self._way_out(desk, bundle) if wish.is_reducing else hot_path.proposal_for(desk, bundle, wish)
        ) is None:
            decision = wish.decision
        elif (denial := self._check(desk, bundle, proposal, now_ns)) is not None:
            decision = hot_path.denied(wish.decision, denial)
        else:
            decision = hot_path.ordered(wish.decision)
            order = new_order(
                proposal,
                desk,
                bundle,
                record,
                log_id=self._switches.log_id,
                index=next_index(desk, record.offset),
                seq=self._next_seq,
                epoch=self.epoch,
                now_ns=now_ns,
            )
            self._ordered(desk, order, proposal, now_ns)
            orders.append(order)
        self.tally.count(decision, bundle)
        if watching is not None:
            decision = shadow.beside(desk, decision, beside)
        if (failed := count(desk, decision, self._max_policy_errors)) is not None:
            self._notices.append(fell_back(desk, failed, self._max_policy_errors, record.offset, now_ns))
        return decision

    def _way_out(self, desk: Desk, bundle: ServingBundle | None) -> Proposal | None:
        if (proposal := hot_path.way_out(desk)) is None:
            return None
        touch = desk.ask_ticks if proposal.side == "buy" else desk.bid_ticks
        return self._gate.cut(proposal, touch, None if bundle is None else bundle.limits)

    def _check(self, desk: Desk, bundle: ServingBundle | None, proposal: Proposal, now_ns: int) -> Denial | None:
        view = view_of(desk, self._desks.values(), state=self._state(desk), bundle=bundle)
        if (denial := self._gate.check(proposal, view, now_ns)) is None:
            return None
        return named(denial, proposal, desk, self._switches, is_blind=self._intakes.is_blind)

    def _switch_desks(self) -> None:
        for desk in self._desks.values():
            desk.state, desk.is_flattening = self._switches.state(desk), self._switches.is_flattening(desk)

    def _state(self, desk: Desk) -> TradingState:
        return TradingState.REDUCING if desk.state is TradingState.ACTIVE and self._intakes.is_blind else desk.state

    def _cancels(self, now_ns: int) -> list[Order | Cancel]:
        """Cancel what is not answered in time, what rests against the wanted position, and all under a Halt."""
        cancels: list[Order | Cancel] = []
        if not self._open:
            return cancels
        overdue_ns = now_ns - self._config.decisions.order_timeout_ms * _MS
        for order, reason in self._open.to_cancel(self._desks, overdue_ns, is_blind=self._intakes.is_blind):
            cancel = new_cancel(order, reason, seq=self._next_seq, epoch=self.epoch)
            self._sent(cancel, now_ns)
            cancels.append(cancel)
        return cancels

    def _sent(self, message: Order | Cancel, now_ns: int) -> None:
        if isinstance(message, Cancel):
            self._next_seq = message.seq + 1
            self._open.cancel_asked(self._desks[message.instrument].account, message)
            self._gate.record_cancel(now_ns)
            if message.reason == NO_ANSWER:
                self._notices.append(unanswered(message, self._config.decisions.order_timeout_ms, now_ns))
            return
        desk = self._desks[message.instrument]
        next_index(desk, message.source.offset)
        self._ordered(desk, message, proposal_of(message, desk.instrument), now_ns)

    def _ordered(self, desk: Desk, order: Order, proposal: Proposal, now_ns: int) -> None:
        self._next_seq = order.seq + 1
        self._open.add(desk.account, open_order(order, proposal.lots, now_ns))
        if self._gate.record(proposal, desk.mark_ticks_doubled, now_ns):
            limits = self._switches.limits().for_pair(desk.strategy, order.instrument)
            self._notices.append(throttled(order, limits, now_ns))

    def _apply_report(self, record: Record, now_ns: int) -> None:
        message = self.read.report(record)
        self._intakes.judge(record, message, now_ns)
        if not isinstance(message, ExecutionReport):
            return
        timeout_ms = self._config.decisions.order_timeout_ms
        self._notices += book(
            message, self._desks[message.instrument], self._ledger, self._open, timeout_ms=timeout_ms, now_ns=now_ns
        )

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
            log_id=self._switches.log_id,
            next_seq=self._next_seq,
            control_to=self.control_to,
            risk_alive=self._switches.risk_alive,
            flattening=self._switches.flattening,
            limit_changes=self._switches.changes,
            age_floor_ns=self._age_floor_ns,
            ledger=self._ledger.snapshot(),
            gate=self._gate.snapshot(),
            halts=self._switches.halts,
            open_orders=self._open.snapshot(),
            desks={name: state_of(desk) for name, desk in sorted(self._desks.items())},
            intakes=self._intakes.snapshot(),
        )
        return encode_state(state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint's state over; the rings are still empty. Raises StateUnreadable, with nothing changed."""
        state = decode_state(checkpoint.state)
        self.n, self.market_to, self.reports_to = checkpoint.n, checkpoint.market_to, checkpoint.reports_to
        self.clock_ns = checkpoint.clock_ns
        self._next_seq, self._age_floor_ns = state.next_seq, state.age_floor_ns
        self._switches.restore(state)
        self._intakes = Intakes(self._config.decisions.dead_letters, state.intakes)
        self._ledger = Ledger.restore(state.ledger, self._config.instruments)
        self._gate = Gate.restore(state.gate, self._switches.limits(), self._config.instruments)
        self._open = OpenOrders()
        for name, desk in self._desks.items():
            desk.account = Account()
            desk.account.hold(self._ledger.position_lots(name), self._ledger.average_price(name))
            if (desk_state := state.desks.get(name)) is not None:
                restore_desk(desk, desk_state)
        for order in state.open_orders:
            if order.instrument in self._desks:  # else it is traded no more
                self._open.add(self._desks[order.instrument].account, order)
        self._switch_desks()
