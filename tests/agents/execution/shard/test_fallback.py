"""A policy that fails: who takes over, what is sent, and what people are told."""

from agents.execution.alerts import alert_of
from agents.execution.shard import Shard
from bundles.errors import PolicyError
from messages import Alert, RejectCode
from messages.decisions import BundleUnavailable
from tests.agents.execution.stepping import FLAT, LONG, advance, filled, orders, override, said
from tests.builders import DIGEST, OTHER_DIGEST, Scripted, activated, bundle, quote, ready_inputs, record, shard

FAILS = PolicyError(RejectCode.NOT_FINITE, "NaN")
GOOD, BAD = f"bundle-{OTHER_DIGEST[:4]}", f"bundle-{DIGEST[:4]}"


def alerts(target: Shard) -> list[Alert]:
    return [alert_of(notice, 0, "execution-1") for notice in target.take_notices()]


def with_a_bundle_before() -> Shard:
    """A good bundle traded, then a bad one was activated by control's record 5."""
    good = bundle(Scripted(LONG), sha256=OTHER_DIGEST)
    target = shard(good, bundle(Scripted(FAILS)), max_policy_errors=3)
    advance(target, [], *ready_inputs()[:2], activated(OTHER_DIGEST, offset=4), activated(DIGEST, offset=5))
    return target


def alone(*answers: float | Exception) -> Shard:
    target = shard(bundle(Scripted(*answers)), max_policy_errors=3)
    advance(target, [], *ready_inputs())
    return target


def test_the_bundle_before_takes_over_at_the_next_record_and_an_alert_names_both() -> None:
    target = with_a_bundle_before()
    logged = advance(target, [quote()] * 4)
    assert said(logged) == ["POLICY_ERROR", "POLICY_ERROR", "POLICY_ERROR", "order"]
    assert orders(logged) == [("buy", 3.0, GOOD)]
    (alert,) = alerts(target)
    assert (alert.code, alert.severity, alert.instrument) == ("POLICY_FALLBACK", "critical", "X")
    assert f"bundle {BAD} failed 3 times in a row, last at market offset 2" in alert.text
    assert f"bundle {GOOD}, which traded before, trades" in alert.text


def test_the_record_that_activated_what_failed_does_not_activate_it_again_and_a_newer_one_does() -> None:
    target = with_a_bundle_before()
    advance(target, [quote()] * 3)
    advance(target, [], activated(DIGEST, offset=5))
    assert said(advance(target, [quote()])) == ["order"]
    advance(target, [], activated(DIGEST, offset=6))
    assert said(advance(target, [quote()])) == ["POLICY_ERROR"]


def test_without_a_bundle_before_the_position_is_closed_and_the_reason_stays_visible() -> None:
    target = alone(LONG, FAILS)
    opened = advance(target, [quote()])
    advance(target, [], reports=filled(target, opened))
    logged = advance(target, [quote()] * 4)
    assert said(logged) == ["POLICY_ERROR", "POLICY_ERROR", "POLICY_ERROR", "order"]
    assert orders(logged) == [("sell", 3.0, BAD)]
    assert [order.reduce_only for order in logged.orders if hasattr(order, "reduce_only")] == [True]
    (alert,) = alerts(target)
    assert "the position is being closed, and nothing trades" in alert.text
    after = advance(target, [quote()] * 5, reports=filled(target, logged))
    assert said(after) == ["POLICY_ERROR"] * 5
    assert {decision.target for decision in after.decisions} == {0}
    assert alerts(target) == []


def test_an_activation_ends_being_flat() -> None:
    target = alone(FAILS)
    advance(target, [quote()] * 3)
    good = bundle(Scripted(LONG), sha256=OTHER_DIGEST)
    target._bundles = {OTHER_DIGEST: good}
    assert said(advance(target, [quote()], activated(OTHER_DIGEST, offset=9))) == ["order"]


def test_a_persons_release_lets_the_policy_try_again() -> None:
    target = alone(FAILS, FAILS, FAILS, LONG)
    assert said(advance(target, [quote()] * 4)) == ["POLICY_ERROR"] * 4
    assert said(advance(target, [quote()], override(7, None))) == ["order"]


def test_a_persons_position_goes_before_being_flat() -> None:
    target = alone(FAILS)
    advance(target, [quote()] * 3)
    assert orders(advance(target, [quote()], override(7, 2.0))) == [("buy", 2.0, BAD)]


def test_errors_that_an_answer_interrupts_bring_no_fallback() -> None:
    target = alone(FAILS, FAILS, FLAT, FAILS, FAILS, FLAT)
    assert said(advance(target, [quote()] * 6)) == ["POLICY_ERROR", "POLICY_ERROR", "hold"] * 2
    assert alerts(target) == []


def test_a_bundle_before_that_could_not_be_loaded_is_not_fallen_back_to() -> None:
    target = with_a_bundle_before()
    advance(target, [], BundleUnavailable(sha256=OTHER_DIGEST))
    assert said(advance(target, [quote()] * 4)) == ["POLICY_ERROR"] * 4
    (alert,) = alerts(target)
    assert "there is no bundle before it" in alert.text


def test_who_adopts_the_log_falls_back_at_the_same_record_and_tells_it_too() -> None:
    stepped, adopted = with_a_bundle_before(), with_a_bundle_before()
    logged = advance(stepped, [quote()] * 4)
    adopted.adopt(logged, [record(quote(), offset) for offset in range(4)], [])
    assert adopted.snapshot() == stepped.snapshot()
    assert alerts(adopted) == alerts(stepped)
