"""Whatever happens, no limit is ever exceeded, even if every order in flight fills at once."""

from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.risk.gate import Gate, Proposal, View
from agents.risk.kill_switch import TradingState
from agents.risk.limits import Limits
from tests.agents.risk.market import BTC, INSTRUMENTS, NOW

MAX_LOTS, MAX_ORDER_LOTS, MAX_OPEN, MAX_RATE, PRICE = 50, 30, 4, 3, 201
MAX_GROSS = 60 * PRICE * BTC.nanos_per_tick_lot
LIMITS = Limits.convert(
    {
        "defaults": {
            "max_position": 0.5,
            "max_order_quantity": 0.3,
            "max_open_orders": MAX_OPEN,
            "max_messages_per_s": MAX_RATE,
            "max_gross_exposure": MAX_GROSS / 1e9,
            "duplicate_window_ms": 1,
        }
    }
)


class Trading(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate(LIMITS, INSTRUMENTS)
        self.now = NOW
        self.position = 0
        self.other = 0
        self.state = TradingState.ACTIVE
        self.open: list[int] = []
        self.sent: deque[int] = deque()

    def in_flight(self, sign: int) -> int:
        return sum(abs(lots) for lots in self.open if lots * sign > 0)

    @rule(ns=st.sampled_from([0, 1, 1_000_000, 400_000_000, 1_000_000_000]))
    def time_passes(self, ns: int) -> None:
        self.now += ns

    @rule(state=st.sampled_from(list(TradingState)))
    def state_changes(self, state: TradingState) -> None:
        self.state = state

    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        if self.open:
            index = data.draw(st.integers(0, len(self.open) - 1))
            lots = self.open[index]
            part = data.draw(st.integers(1, abs(lots))) * (1 if lots > 0 else -1)
            self.position += part
            self.open[index] -= part
            self.open = [left for left in self.open if left]

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.open:
            del self.open[data.draw(st.integers(0, len(self.open) - 1))]
            self.gate.record_cancel(self.now)

    @rule(
        is_buy=st.booleans(),
        lots=st.integers(1, 60),
        reduce_only=st.booleans(),
        restart=st.booleans(),
    )
    def propose(self, is_buy: bool, lots: int, reduce_only: bool, restart: bool) -> None:
        if restart:
            self.gate = Gate.restore(self.gate.snapshot(), LIMITS, INSTRUMENTS)
        proposal = Proposal(
            instrument="BTC", strategy="s", side="buy" if is_buy else "sell", lots=lots, reduce_only=reduce_only
        )
        view = View(
            position_lots=self.position,
            open_buy_lots=self.in_flight(1),
            open_sell_lots=self.in_flight(-1),
            open_orders=len(self.open),
            bid_ticks=PRICE - 1,
            ask_ticks=PRICE,
            reference_ts_ns=self.now,
            state=self.state,
        )
        if self.gate.check(proposal, view, self.now) is not None:
            return
        before = self.position
        self.gate.record(proposal, view, self.now)
        self.open.append(lots if is_buy else -lots)
        self.sent.append(self.now)
        filled = before + sum(self.open)
        assert self.state is not TradingState.HALTED
        assert lots <= MAX_ORDER_LOTS
        if self.state is TradingState.REDUCING:
            assert abs(filled) <= abs(before)
        if self.state is TradingState.REDUCING or reduce_only:
            assert self.furthest(is_buy) * before >= 0

    def furthest(self, is_buy: bool) -> int:
        return self.position + (self.in_flight(1) if is_buy else -self.in_flight(-1))

    @invariant()
    def no_limit_is_exceeded_even_if_everything_fills(self) -> None:
        worst = max(self.furthest(is_buy=True), -self.furthest(is_buy=False))
        assert worst <= MAX_LOTS
        assert worst * PRICE * BTC.nanos_per_tick_lot <= MAX_GROSS
        assert len(self.open) <= MAX_OPEN
        while self.sent and self.sent[0] <= self.now - 1_000_000_000:
            self.sent.popleft()
        assert len(self.sent) <= MAX_RATE


TestTrading = Trading.TestCase
TestTrading.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
