"""The shard: what one step does with inputs, reports and market records."""

import msgspec
import pytest

from agents.execution.errors import StepOutOfTurn
from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from agents.execution.shard.step import ServingBundle
from bundles.errors import PolicyError
from messages import Cancel, Flatten, Halt, LoggedStep, Order, Override, Record, RejectCode, Resume, Trade
from messages.control import Limits
from messages.decisions import ControlApplied, MarketGap, RiskAlive, Timer
from tests.agents.execution.stepping import FLAT, LONG, SHORT, advance
from tests.builders import (
    DIGEST,
    OTHER_DIGEST,
    SECOND,
    START_NS,
    Scripted,
    activated,
    bundle,
    quote,
    ready_inputs,
    record,
    report,
    shard,
    step_of,
)


def outcomes(logged: LoggedStep) -> list[str]:
    return [decision.outcome.value for decision in logged.decisions]


def live(*answers: float | Exception, **config: object) -> Shard:
    target = shard(bundle(Scripted(*answers)), **config)  # type: ignore[arg-type]
    advance(target, [], *ready_inputs())
    return target


def filled(target: Shard, order: Order) -> list[Record]:
    return [record(report(order), target.reports_to, topic="reports")]


def test_a_wanted_position_becomes_one_order_and_a_repeated_target_sends_nothing() -> None:
    target = live(LONG)
    logged = advance(target, [quote(), quote()])
    assert outcomes(logged) == ["order", "hold"]
    (order,) = logged.orders
    assert isinstance(order, Order)
    assert (order.side, order.quantity, order.seq, order.source.offset) == ("buy", 3.0, 0, 0)


def test_without_a_bundle_nothing_is_decided() -> None:
    target = shard()
    assert outcomes(advance(target, [quote()], *ready_inputs()[:2])) == ["no-bundle"]


def test_without_risks_heartbeat_only_reducing_orders_pass() -> None:
    target = shard(bundle(Scripted(LONG)))
    logged = advance(target, [quote()], ready_inputs()[0], activated())
    assert outcomes(logged) == ["denied"]
    assert logged.decisions[0].denial is not None
    assert logged.decisions[0].denial.code == "RISK_AWAY"


def test_trades_feed_the_features_and_are_never_decided_on() -> None:
    target = live(LONG)
    trade = Trade(instrument="X", ts_recv=START_NS, price=100.0, size=1.0)
    assert outcomes(advance(target, [trade, quote()])) == ["hold", "order"]


def test_the_policy_is_asked_at_every_nth_quote() -> None:
    target = shard(bundle(Scripted(LONG), decide_every=3))
    logged = advance(target, [quote()] * 4, *ready_inputs())
    assert outcomes(logged) == ["hold", "hold", "order", "hold"]


def test_an_old_record_is_stale() -> None:
    target = live(LONG, max_decision_age_ms=100)
    advance(target, [quote()])
    market = [record(quote(), 1, at_ns=START_NS)]
    logged = target.step(step_of(target, market, at_ns=START_NS + SECOND), market, [])
    assert outcomes(logged) == ["stale"]


def test_conflation_decides_the_newest_record_of_an_instrument_alone() -> None:
    target = live(LONG, conflate=True)
    assert outcomes(advance(target, [quote(), quote(), quote()])) == ["conflated", "conflated", "order"]


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (b"{", b"X", "truncated"),
        (b'{"type":"Quote"}', b"X", "required"),
        (b'{"type":"Later"}', b"X", "unknown type"),
        (quote(), b"Y", "wrong-partition"),
        (quote(), None, "wrong-partition"),
        (quote(bid=100.1), b"X", "price_step"),
        (msgspec.structs.replace(quote(), instrument="Z"), b"Z", "unknown instrument"),
    ],
)
def test_what_is_no_tick_is_refused_with_a_reason_and_the_next_is_decided(
    value: object, key: bytes | None, reason: str
) -> None:
    target = live(LONG)
    market = [record(value, 0, key=key), record(quote(), 1)]
    assert reason in str(target.read.market(market[0]))
    assert outcomes(target.step(step_of(target, market), market, [])) == ["refused", "order"]


def test_a_report_moves_the_position_and_closes_the_order() -> None:
    target = live(LONG, FLAT)
    first = advance(target, [quote()])
    order = first.orders[0]
    assert isinstance(order, Order)
    second = advance(target, [quote()], reports=filled(target, order))
    closing = second.orders[0]
    assert isinstance(closing, Order)
    assert (closing.side, closing.quantity) == ("sell", 3.0)
    assert not any(True for _ in [o for o in target._open if o.order_id == order.order_id])


def test_a_halt_denies_and_cancels_what_is_open() -> None:
    target = live(LONG, SHORT)
    order = advance(target, [quote()]).orders[0]
    halt = ControlApplied(
        offset=7, message=Halt(scope="instrument:X", level="halted", writer="me", reason="test", ts=0)
    )
    logged = advance(target, [quote()], halt)
    (cancel,) = logged.orders
    assert isinstance(cancel, Cancel)
    assert isinstance(order, Order)
    assert (cancel.order_id, cancel.reason, cancel.seq) == (order.order_id, "halted", 1)
    assert logged.decisions[0].denial is not None
    assert logged.decisions[0].denial.code == "HALTED"
    assert advance(target, [], Timer()).orders == ()


def test_only_a_resume_that_names_the_halt_clears_it() -> None:
    target = live(LONG)
    halt = Halt(scope="portfolio", level="halted", writer="me", reason="test", ts=0)
    assert outcomes(advance(target, [quote()], ControlApplied(offset=7, message=halt))) == ["denied"]
    blind = Resume(scope="portfolio", clears=(6,), who="me", reason="test", ts=0)
    assert outcomes(advance(target, [quote()], ControlApplied(offset=8, message=blind))) == ["denied"]
    seen = Resume(scope="portfolio", clears=(7,), who="me", reason="test", ts=0)
    assert outcomes(advance(target, [quote()], ControlApplied(offset=9, message=seen))) == ["order"]


def test_an_override_sets_the_position_until_it_is_released() -> None:
    target = live(FLAT)

    def override(offset: int, to: float | None) -> ControlApplied:
        message = Override(strategy="s", instrument="X", expects=-1, who="me", reason="test", ts=0, target=to)
        return ControlApplied(offset=offset, message=message)

    logged = advance(target, [quote(), quote()], override(6, -2.0))
    assert outcomes(logged) == ["order", "override"]
    order = logged.orders[0]
    assert isinstance(order, Order)
    assert (order.side, order.quantity) == ("sell", 2.0)
    released = advance(target, [quote()], override(7, None), reports=filled(target, order))
    assert isinstance(released.orders[0], Order)
    assert released.orders[0].side == "buy"


def test_flatten_closes_with_reduce_only_orders() -> None:
    target = live(LONG)
    order = advance(target, [quote()]).orders[0]
    assert isinstance(order, Order)
    switch = ControlApplied(offset=6, message=Flatten(scope="portfolio", on=True, who="me", reason="test", ts=0))
    logged = advance(target, [quote(), quote()], switch, reports=filled(target, order))
    closing = logged.orders[0]
    assert isinstance(closing, Order)
    assert (closing.side, closing.quantity, closing.reduce_only) == ("sell", 3.0, True)
    assert outcomes(logged) == ["order", "override"]


def test_an_order_without_answer_is_cancelled_once_and_only_exits_go_out() -> None:
    target = live(LONG, SHORT, order_timeout_ms=1_000)
    advance(target, [quote()])
    later = START_NS + 2 * SECOND
    logged = advance(target, [quote()], at_ns=later)
    assert [type(message) for message in logged.orders] == [Cancel]
    assert logged.decisions[0].denial is not None
    assert logged.decisions[0].denial.code == "AWAITING_REPORT"
    assert advance(target, [], Timer(), at_ns=later + SECOND).orders == ()


def test_too_many_policy_errors_bring_the_previous_bundle_back() -> None:
    good = bundle(Scripted(LONG), sha256=OTHER_DIGEST)
    bad = bundle(Scripted(PolicyError(RejectCode.NOT_FINITE, "NaN")), sha256=DIGEST)
    target = shard(good, bad, max_policy_errors=2)
    advance(target, [], *ready_inputs()[:2], activated(OTHER_DIGEST, offset=4), activated(DIGEST, offset=5))
    logged = advance(target, [quote(), quote(), quote()])
    assert outcomes(logged) == ["denied", "denied", "order"]
    order = logged.orders[0]
    assert isinstance(order, Order)
    assert order.bundle_id == good.bundle_id


def test_a_swap_takes_effect_between_two_records_and_each_order_names_its_bundle() -> None:
    old, new = bundle(Scripted(LONG), sha256=DIGEST), bundle(Scripted(SHORT), sha256=OTHER_DIGEST)
    target = shard(old, new)
    first = advance(target, [quote()], *ready_inputs()).orders[0]
    second = advance(target, [quote()], activated(OTHER_DIGEST, offset=9)).orders[0]
    assert isinstance(first, Order)
    assert isinstance(second, Order)
    assert (first.bundle_id, second.bundle_id) == (old.bundle_id, new.bundle_id)


def test_an_older_activation_changes_nothing() -> None:
    target = live(LONG)
    advance(target, [], activated(OTHER_DIGEST, offset=4))
    active = target.desks["X"].active
    assert active is not None
    assert active.sha256 == DIGEST


def test_an_impossible_limit_is_void_and_a_possible_one_counts_from_the_next_step() -> None:
    target = live(LONG)

    def limits(offset: int, version: int, changes: dict[str, float]) -> ControlApplied:
        message = Limits(version=version, changes=changes, who="me", reason="test", ts=0)
        return ControlApplied(offset=offset, message=message)

    logged = advance(
        target, [quote()], limits(6, 1, {"defaults.nonsense": 1.0}), limits(7, 2, {"defaults.max_order_quantity": 1.0})
    )
    assert str(logged.decisions[0].denial) == "MAX_ORDER_QUANTITY limit=1 resulting=3"


def test_a_step_that_is_not_the_next_one_is_refused_and_changes_nothing() -> None:
    target = live(LONG)
    before = target.snapshot()
    market = [record(quote(), 5)]
    with pytest.raises(StepOutOfTurn):
        target.step(msgspec.structs.replace(step_of(target, market), market_from=5), market, [])
    with pytest.raises(StepOutOfTurn):
        target.step(msgspec.structs.replace(step_of(target, []), n=target.n + 1), [], [])
    assert target.snapshot() == before


def test_a_gap_is_covered_by_the_step_and_decides_nothing() -> None:
    target = live(LONG)
    market = [record(quote(), 10)]
    logged = target.step(step_of(target, market, MarketGap(market_from=0, market_to=10)), market, [])
    assert outcomes(logged) == ["order"]
    assert target.market_to == 11


def trading_shard() -> tuple[Shard, ServingBundle]:
    serving = bundle(Scripted(LONG, SHORT, FLAT, LONG))
    return shard(serving), serving


def test_adopting_a_log_gives_the_state_that_stepping_gave() -> None:
    stepped, _ = trading_shard()
    logged = [advance(stepped, [quote()], *ready_inputs())]
    market = [record(quote(), 0)]
    reports: list[Record] = []
    for index in range(1, 4):
        order = logged[-1].orders[-1]
        assert isinstance(order, Order)
        answered = filled(stepped, order)
        reports += answered
        ticks = [record(quote(bid=100.0 + index, ask=101.0 + index), index)]
        logged.append(stepped.step(step_of(stepped, ticks, reports=answered), ticks, answered))
        market += ticks
    adopted, _ = trading_shard()
    for step in logged:
        taken = [r for r in reports if adopted.reports_to <= r.offset < step.step.reports_to]
        adopted.adopt(step, market[step.step.market_from : step.step.market_to], taken)
    assert adopted.snapshot() == stepped.snapshot()
    assert adopted.n == stepped.n


def test_a_checkpoint_in_the_middle_changes_nothing() -> None:
    straight = live(LONG, SHORT, FLAT)
    advance(straight, [quote(), quote(bid=101.0, ask=102.0)])
    restored = shard(bundle(Scripted(FLAT)))
    state = straight.snapshot()
    restored.restore(checkpoint_of(straight))
    restored.refill([record(quote(), 0), record(quote(bid=101.0, ask=102.0), 1)])
    assert restored.snapshot() == state
    assert advance(restored, [quote()]) == advance(straight, [quote()])


def test_risk_back_alive_lets_orders_pass_again() -> None:
    target = live(LONG)
    assert outcomes(advance(target, [quote()], RiskAlive(alive=False))) == ["denied"]
    assert outcomes(advance(target, [quote()], RiskAlive(alive=True))) == ["order"]
