"""Whatever happens, no limit is exceeded even if every order in flight fills at once, and an oracle always agrees."""

from collections import deque
from itertools import chain, combinations
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.risk.gate import Gate, Proposal, View
from agents.risk.kill_switch import TradingState
from agents.risk.limits import Limits
from tests.agents.risk.market import BTC, INSTRUMENTS, NOW

MAX_LOTS, MAX_ORDER_LOTS, MAX_OPEN, MAX_RATE, PRICE = 50, 30, 4, 3, 201
LOT_NANOS = PRICE * BTC.nanos_per_tick_lot
MAX_GROSS_LOTS = 60
GAPS_NS = (0, 1, 1_000_000, 400_000_000, 1_000_000_000)
SOAK_STEPS = 60_000
LIMITS = Limits.convert(
    {
        "defaults": {
            "max_position": 0.5,
            "max_order_quantity": 0.3,
            "max_open_orders": MAX_OPEN,
            "max_messages_per_s": MAX_RATE,
            "max_gross_exposure": MAX_GROSS_LOTS * LOT_NANOS / 1e9,
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
        self.messages: list[int] = []
        self.contents: dict[int, int] = {}

    def in_flight(self, sign: int) -> int:
        return sum(abs(lots) for lots in self.open if lots * sign > 0)

    @rule(ns=st.sampled_from(GAPS_NS))
    def time_passes(self, ns: int) -> None:
        self.now += ns

    @rule(state=st.sampled_from(list(TradingState)))
    def state_changes(self, state: TradingState) -> None:
        self.state = state

    @rule(lots=st.sampled_from([0, 15, 30]))
    def other_instruments_are_traded(self, lots: int) -> None:
        self.other = lots

    @rule(which=st.integers(0, 9), most=st.integers(1, 30))
    def fill(self, which: int, most: int) -> None:
        if self.open:
            index = which % len(self.open)
            lots = self.open[index]
            part = min(most, abs(lots)) * (1 if lots > 0 else -1)
            self.position += part
            self.open[index] -= part
            self.open = [left for left in self.open if left]

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        if self.open:
            del self.open[which % len(self.open)]
            self.gate.record_cancel(self.now)
            self.messages.append(self.now)

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
            other_gross_nanos=self.other * LOT_NANOS,
            state=self.state,
        )
        denial = self.gate.check(proposal, view, self.now)
        assert (denial is None) == self.may_go(lots if is_buy else -lots, reduce_only=reduce_only), denial
        if denial is not None:
            return
        before = self.position
        self.gate.record(proposal, 2 * PRICE - 1, self.now)
        self.open.append(lots if is_buy else -lots)
        self.sent.append(self.now)
        self.messages.append(self.now)
        self.contents[lots if is_buy else -lots] = self.now
        filled = before + sum(self.open)
        assert self.state is not TradingState.HALTED
        assert lots <= MAX_ORDER_LOTS
        if self.state is TradingState.REDUCING:
            assert abs(filled) <= abs(before)
        if self.state is TradingState.REDUCING or reduce_only:
            assert self.furthest(is_buy) * before >= 0

    def may_go(self, order: int, *, reduce_only: bool) -> bool:
        """The oracle: tries every set of orders that may fill, this one among them."""
        before, now = self.position, self.now
        sets = [combinations([*self.open, order], size) for size in range(len(self.open) + 2)]
        worst = max(abs(before + sum(filled)) for filled in chain.from_iterable(sets))
        own_side = [lots for lots in self.open if lots * order > 0]
        exits = before * order < 0 and before * (before + order + sum(own_side)) >= 0
        if self.state is TradingState.HALTED or abs(order) > MAX_ORDER_LOTS or len(self.open) >= MAX_OPEN:
            return False
        if (reduce_only or self.state is TradingState.REDUCING) and not exits:
            return False
        if self.state is TradingState.REDUCING and abs(before + order + sum(self.open)) > abs(before):
            return False
        if not exits and (worst > MAX_LOTS or worst + self.other > MAX_GROSS_LOTS):
            return False
        if now - self.contents.get(order, -1) < 1_000_000:
            return False
        return sum(now - 1_000_000_000 < ts for ts in self.messages[-MAX_RATE:]) < MAX_RATE

    def furthest(self, is_buy: bool) -> int:
        return self.position + (self.in_flight(1) if is_buy else -self.in_flight(-1))

    @invariant()
    def no_limit_is_exceeded_even_if_everything_fills(self) -> None:
        worst = max(self.furthest(is_buy=True), -self.furthest(is_buy=False))
        assert worst <= MAX_LOTS
        assert len(self.open) <= MAX_OPEN
        while self.sent and self.sent[0] <= self.now - 1_000_000_000:
            self.sent.popleft()
        assert len(self.sent) <= MAX_RATE


def test_the_same_holds_over_a_long_day() -> None:
    # Hypothesis finds short stories and tells them well; positions at their limits need long ones.
    dice = Random(7)
    trading = Trading()
    for _ in range(SOAK_STEPS):
        match dice.choices(range(6), weights=(40, 25, 10, 20, 3, 2))[0]:
            case 0:
                trading.propose(
                    is_buy=dice.random() < 0.5,
                    lots=dice.choice((1, 5, 10, 20, 30, 31)),
                    reduce_only=dice.random() < 0.2,
                    restart=dice.random() < 0.1,
                )
            case 1:
                trading.fill(which=dice.randrange(10), most=dice.randint(1, 30))
            case 2:
                trading.cancel(which=dice.randrange(10))
            case 3:
                trading.time_passes(ns=dice.choice(GAPS_NS))
            case 4:
                trading.state_changes(state=dice.choice([*TradingState, TradingState.ACTIVE]))
            case _:
                trading.other_instruments_are_traded(lots=dice.choice((0, 15, 30)))
        trading.no_limit_is_exceeded_even_if_everything_fills()


TestTrading = Trading.TestCase
TestTrading.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
