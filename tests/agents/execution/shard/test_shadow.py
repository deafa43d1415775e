"""A shadow: asked as if it traded, heard by nobody, and of no effect on the bundle that does."""

import msgspec

from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from bundles.errors import PolicyError
from messages import LoggedStep, RejectCode, Trade
from messages.decisions import BundleShadowed, BundleUnavailable
from tests.agents.execution.stepping import FLAT, LONG, SHORT, advance, orders, override, said
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
    shard,
    step_of,
)

FAILS = PolicyError(RejectCode.NOT_FINITE, "NaN")
LIVE, BESIDE = f"bundle-{DIGEST[:4]}", f"bundle-{OTHER_DIGEST[:4]}"


def shadowed(offset: int = 6) -> BundleShadowed:
    return BundleShadowed(offset=offset, strategy="s", instrument="X", bundle_id=BESIDE, sha256=OTHER_DIGEST)


def ended(offset: int = 7) -> BundleShadowed:
    return BundleShadowed(offset=offset, strategy="s", instrument="X")


def beside(live: float, *answers: float | Exception, **actions: object) -> Shard:
    """A shard that trades with one bundle and has another decide beside it."""
    target = shard(bundle(Scripted(live)), bundle(Scripted(*answers), sha256=OTHER_DIGEST, **actions))
    advance(target, [], *ready_inputs(), shadowed())
    return target


def answers(logged: LoggedStep) -> list[tuple[int | None, str | None] | None]:
    """What the shadow wanted, in lots, or why it did not answer, at each record."""
    return [None if d.shadow is None else (d.shadow.target, d.shadow.error) for d in logged.decisions]


def test_its_answers_stand_beside_the_live_decisions_and_only_those_send() -> None:
    target = beside(LONG, SHORT)
    logged = advance(target, [quote(), quote()])
    assert said(logged) == ["order", "hold"]
    assert orders(logged) == [("buy", 3.0, LIVE)]
    assert answers(logged) == [(-3, None), (-3, None)]
    assert {d.shadow.bundle_id for d in logged.decisions if d.shadow is not None} == {BESIDE}


def test_its_errors_are_logged_and_bring_no_fallback() -> None:
    target = beside(FLAT, FAILS)
    logged = advance(target, [quote()] * 20)
    assert said(logged) == ["hold"] * 20
    assert answers(logged) == [(None, "POLICY_ERROR")] * 20
    assert target.take_notices() == []


def test_alone_on_its_desk_the_outcome_is_shadow() -> None:
    target = shard(bundle(Scripted(LONG), sha256=OTHER_DIGEST))
    logged = advance(target, [quote(), quote()], *ready_inputs()[:2], shadowed())
    assert said(logged) == ["shadow", "shadow"]
    assert answers(logged) == [(3, None), (3, None)]
    assert logged.orders == ()


def test_it_is_asked_at_its_own_intervals_and_never_at_trades() -> None:
    target = beside(FLAT, LONG, decide_every=2)
    trade = Trade(instrument="X", ts_recv=START_NS, price=100.0, size=1.0)
    logged = advance(target, [quote(), trade, quote(), quote(), quote()])
    assert answers(logged) == [None, None, (3, None), None, (3, None)]


def test_a_stale_record_is_not_shown_to_it() -> None:
    target = beside(FLAT, LONG)
    advance(target, [quote()])
    market = [record(quote(), 1, at_ns=START_NS)]
    logged = target.step(step_of(target, market, at_ns=START_NS + 2 * SECOND), market, [])
    assert said(logged) == ["stale"]
    assert answers(logged) == [None]


def test_it_decides_on_while_a_person_or_nobody_trades() -> None:
    target = beside(LONG, SHORT)
    logged = advance(target, [quote()] * 2, override(8, 0.0))
    assert said(logged) == ["override", "override"]
    assert answers(logged) == [(-3, None)] * 2


def test_it_ends_by_a_later_record_alone_and_can_begin_again() -> None:
    target = beside(FLAT, LONG)
    assert answers(advance(target, [quote()], ended(offset=5))) == [(3, None)]
    assert answers(advance(target, [quote()], ended(offset=7))) == [None]
    assert answers(advance(target, [quote()], shadowed(offset=9))) == [(3, None)]


def test_one_that_could_not_be_loaded_is_given_up_in_the_log() -> None:
    target = beside(FLAT, LONG)
    logged = advance(target, [quote()], BundleUnavailable(sha256=OTHER_DIGEST))
    assert answers(logged) == [None]


def test_it_goes_live_without_a_break() -> None:
    target = beside(FLAT, LONG)
    advance(target, [quote()])
    logged = advance(target, [quote()], activated(OTHER_DIGEST, offset=8), ended(offset=9))
    assert orders(logged) == [("buy", 3.0, BESIDE)]


def test_adopting_and_a_checkpoint_in_the_middle_change_nothing() -> None:
    make = (LONG, SHORT, FLAT)
    straight, adopted = beside(FLAT, *make, decide_every=2), beside(FLAT, *make, decide_every=2)
    logged = advance(straight, [quote()] * 3)
    adopted.adopt(logged, [record(quote(), offset) for offset in range(3)], [])
    assert adopted.snapshot() == straight.snapshot()
    restored = beside(FLAT, SHORT, FLAT, decide_every=2)
    checkpoint = checkpoint_of(straight)
    restored.restore(checkpoint)
    restored.refill([record(quote(), offset) for offset in range(3)])
    after, again = advance(straight, [quote()] * 2), advance(restored, [quote()] * 2)
    assert msgspec.json.encode(after) == msgspec.json.encode(again)
    assert answers(after) == [(-3, None), None]


def test_without_a_shadow_no_byte_of_the_log_changes() -> None:
    target = shard(bundle(Scripted(LONG)))
    logged = advance(target, [quote()], *ready_inputs())
    assert b"shadow" not in msgspec.json.encode(logged)
