"""From a policy's action to the order that goes out: its size, its price, and when there is none."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.execution.shard import Shard
from bundles.features import Floats32
from messages import Cancel, Flatten, LoggedStep, Order, Record, ReportStatus
from messages.decisions import ControlApplied
from tests.builders import X, bundle, quote, ready_inputs, record, report, shard, step_of

OFFSETS = (None, 0, 2, -1)
MARKET, AT_TOUCH, BEHIND, THROUGH = range(4)
LOOSE = {"price_collar_bps": 10_000, "price_collar_period_bps": 10_000, "max_open_orders": 1_000}
Action = tuple[float, ...]


class Answers:
    """A policy that gives these actions in turn, then the last for ever."""

    def __init__(self, *actions: Action) -> None:
        self._actions = list(actions)

    def act(self, _observation: Floats32) -> Action:
        return self._actions.pop(0) if len(self._actions) > 1 else self._actions[0]

    def act_batch(self, observations: Any) -> list[Action]:
        return [self.act(row) for row in observations]


def hybrid(*actions: Action, **mapping: Any) -> Shard:
    known: dict[str, Any] = {"kind": "hybrid", "max_position": 10.0, "limit_offsets": OFFSETS}
    target = shard(bundle(Answers(*actions), **(known | mapping)), limits=LOOSE)
    advance(target, [], *ready_inputs())
    return target


def advance(target: Shard, quotes: list[Any], *inputs: Any, reports: list[Record] | None = None) -> LoggedStep:
    market = [record(message, target.market_to + index) for index, message in enumerate(quotes)]
    return target.step(step_of(target, market, *inputs, reports=reports), market, reports or [])


def orders(logged: LoggedStep) -> list[Order]:
    return [order for order in logged.orders if isinstance(order, Order)]


@pytest.mark.parametrize(
    ("offset", "fraction", "order_type", "limit_price", "time_in_force"),
    [
        (MARKET, 0.5, "market", None, "IOC"),
        (AT_TOUCH, 0.5, "limit", 101.0, "GTC"),
        (AT_TOUCH, -0.5, "limit", 100.0, "GTC"),
        (BEHIND, 0.5, "limit", 100.0, "GTC"),
        (BEHIND, -0.5, "limit", 101.0, "GTC"),
        (THROUGH, 0.5, "limit", 101.5, "GTC"),
        (THROUGH, -0.5, "limit", 99.5, "GTC"),
    ],
)
def test_the_policy_chooses_the_limit_price_of_its_order(
    offset: int, fraction: float, order_type: str, limit_price: float | None, time_in_force: str
) -> None:
    target = hybrid((float(offset), fraction), time_in_force="GTC")
    (order,) = orders(advance(target, [quote(bid=100.0, ask=101.0)]))
    assert (order.order_type, order.limit_price, order.time_in_force) == (order_type, limit_price, time_in_force)
    assert (order.side, order.quantity) == ("buy" if fraction > 0 else "sell", 5.0)


def test_two_indices_choose_level_and_limit_price() -> None:
    target = hybrid((2.0, 2.0), kind="levels")
    (order,) = orders(advance(target, [quote(bid=100.0, ask=101.0)]))
    assert (order.quantity, order.limit_price) == (10.0, 100.0)


@pytest.mark.parametrize("action", [(1.0,), (4.0, 0.5), (0.5, 0.5), (1.0, 0.5, 0.5)])
def test_an_action_of_the_wrong_form_is_a_policy_error(action: Action) -> None:
    logged = advance(hybrid(action), [quote()])
    assert [str(decision.denial) for decision in logged.decisions] == ["POLICY_ERROR"]


def test_a_price_below_the_first_step_is_denied() -> None:
    logged = advance(hybrid((0.0, 1.0), limit_offsets=(3,)), [quote(bid=0.5, ask=1.0)])
    assert [str(decision.denial) for decision in logged.decisions] == ["PRICE_STEP limit=1 resulting=-1"]


def test_an_offset_that_changes_alone_sends_nothing() -> None:
    logged = advance(hybrid((1.0, 0.5), (2.0, 0.5), (0.0, 0.5)), [quote()] * 3)
    assert [decision.outcome.value for decision in logged.decisions] == ["order", "hold", "hold"]


def test_a_resting_order_keeps_its_price_while_the_target_stays() -> None:
    target = hybrid((float(BEHIND), 0.5), time_in_force="GTC")
    (order,) = orders(advance(target, [quote(bid=100.0, ask=101.0)]))
    new = record(report(order, status=ReportStatus.NEW, filled=0.0), 0, topic="reports")
    logged = advance(target, [quote(bid=104.0, ask=105.0)] * 3, reports=[new])
    assert logged.orders == ()


def resting(**mapping: Any) -> tuple[Shard, Order, list[Record]]:
    """A shard that wants 5, then nothing, its order, and the venue's answer: it rests."""
    target = hybrid((float(BEHIND), 0.5), (float(BEHIND), 0.0), time_in_force="GTC", **mapping)
    (order,) = orders(advance(target, [quote(bid=100.0, ask=101.0)]))
    return target, order, [record(report(order, status=ReportStatus.NEW, filled=0.0), 0, topic="reports")]


def test_a_resting_order_that_no_longer_serves_the_target_is_cancelled_before_anything_is_sent_against_it() -> None:
    target, order, answer = resting()
    sent: list[Any] = []
    for _ in range(3):
        sent += advance(target, [quote(bid=100.0, ask=101.0)], reports=answer).orders
        answer = []
    assert [message.order_id for message in sent if isinstance(message, Cancel)] == [order.order_id]
    assert [message for message in sent if isinstance(message, Order)] == []


def test_flatten_cancels_what_rests() -> None:
    target, order, answer = resting()
    flatten = ControlApplied(offset=50, message=Flatten(scope="portfolio", on=True, who="me", reason="test", ts=0))
    logged = advance(target, [quote(bid=100.0, ask=101.0)], flatten, reports=answer)
    assert [message.order_id for message in logged.orders if isinstance(message, Cancel)] == [order.order_id]


mids = st.integers(1_000, 1_900)
spreads = st.integers(0, 6)
actions = st.tuples(st.integers(0, 3).map(float), st.floats(-1.5, 1.5))
TICKS = st.lists(st.tuples(mids, spreads, actions, st.booleans()), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ticks=TICKS, dead_band=st.sampled_from([0.0, 2.5]), max_change=st.sampled_from([None, 3.0]))
def test_every_order_is_what_its_action_says(
    ticks: list[tuple[int, int, Action, bool]], dead_band: float, max_change: float | None
) -> None:
    target = hybrid(*[action for _, _, action, _ in ticks], dead_band=dead_band, max_change=max_change)
    effective = 0
    reports: list[Record] = []
    for bid_ticks, spread, action, is_answered in ticks:
        bid, ask = bid_ticks * X.price_step, (bid_ticks + spread) * X.price_step
        logged = advance(target, [quote(bid=bid, ask=ask)], reports=reports)
        reports = []
        wanted = int(max(-1.0, min(action[1], 1.0)) * 10)
        sent = orders(logged)
        assert len(sent) <= 1
        for order in sent:
            sign = 1 if order.side == "buy" else -1
            lots = X.lots(order.quantity)
            assert lots is not None
            assert lots > 0
            effective += sign * lots
            assert lots >= dead_band
            assert max_change is None or lots <= max_change
            offset = OFFSETS[int(action[0])]
            if offset is None:
                assert (order.order_type, order.limit_price) == ("market", None)
            else:
                assert order.limit_price is not None
                ticks_of_limit = X.ticks(order.limit_price)
                assert ticks_of_limit == (bid_ticks + spread - offset if sign > 0 else bid_ticks + offset)
                if offset > 0:
                    assert order.limit_price < ask if sign > 0 else order.limit_price > bid
            if is_answered:
                reports = [record(report(order), target.reports_to, topic="reports")]
        assert abs(effective) <= 10
        if not sent:
            assert abs(wanted - effective) <= dead_band
    # The last action again, often enough for every change: then there is nothing left to send.
    last = quote(bid=bid, ask=ask)
    advance(target, [last] * 10, reports=reports)
    assert advance(target, [last] * 3).orders == ()
