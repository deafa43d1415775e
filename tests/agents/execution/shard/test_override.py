"""A position set by hand, and let go again: what is sent, and what stands in the log."""

import pytest

from agents.execution.shard import Shard
from messages import Flatten, Halt, Order
from tests.agents.execution.stepping import LONG, SHORT, advance, filled, orders, override, said, said_by
from tests.builders import Scripted, bundle, quote, ready_inputs, shard

BUNDLE = "bundle-aaaa"


def live(answer: float, **config: object) -> Shard:
    target = shard(bundle(Scripted(answer)), **config)  # type: ignore[arg-type]
    advance(target, [], *ready_inputs())
    return target


def test_the_position_is_a_persons_until_released_and_every_record_says_so() -> None:
    target = live(LONG)
    logged = advance(target, [quote()] * 3, override(6, -2.0))
    assert said(logged) == ["order", "override", "override"]
    assert orders(logged) == [("sell", 2.0, BUNDLE)]
    released = advance(target, [quote()], override(7, None), reports=filled(target, logged))
    assert said(released) == ["order"]
    assert orders(released) == [("buy", 5.0, BUNDLE)]


def test_the_policy_is_not_asked_while_a_person_decides() -> None:
    target = live(LONG)
    logged = advance(target, [quote()] * 2, override(6, 0.0))
    assert said(logged) == ["override", "override"]
    assert [decision.action for decision in logged.decisions] == [None, None]


def test_limits_hold_for_a_person_too_and_the_denial_says_which() -> None:
    target = shard(bundle(Scripted(LONG)), limits={"max_position": 4.0})
    advance(target, [], *ready_inputs())
    logged = advance(target, [quote()], override(6, 9.0))
    assert str(logged.decisions[0].denial) == "MAX_POSITION limit=4 resulting=9"


def test_a_halt_stops_a_person_too() -> None:
    target = live(LONG)
    halt = said_by(7, Halt(scope="portfolio", level="halted", writer="risk", reason="test", ts=0))
    assert said(advance(target, [quote()], override(6, 2.0), halt)) == ["HALTED"]


def test_flattening_goes_before_a_persons_position() -> None:
    target = live(SHORT)
    opened = advance(target, [quote()], override(6, 2.0))
    switch = said_by(7, Flatten(scope="portfolio", on=True, who="me", reason="test", ts=0))
    logged = advance(target, [quote()] * 2, switch, reports=filled(target, opened))
    assert said(logged) == ["order", "override"]
    (closing,) = [order for order in logged.orders if isinstance(order, Order)]
    assert (closing.side, closing.quantity, closing.reduce_only) == ("sell", 2.0, True)


@pytest.mark.parametrize("target_units", [1e300, -1e300])
def test_a_position_beyond_all_steps_is_void(target_units: float) -> None:
    target = live(LONG)
    assert orders(advance(target, [quote()], override(6, target_units))) == [("buy", 3.0, BUNDLE)]


def test_a_record_of_control_that_comes_again_changes_nothing() -> None:
    target = live(LONG)
    advance(target, [quote()], override(6, -2.0), override(7, None))
    before = target.snapshot()
    advance(target, [], override(6, -2.0))
    assert target.desks["X"].override_lots is None
    assert target.snapshot() == before
