"""Flatten, and the closing after a policy has failed: neither maxima nor orders that are open bar the way out."""

from typing import Any

import pytest

from agents.execution.shard import Shard
from bundles.errors import PolicyError
from messages import Flatten, Halt, Order, RejectCode
from messages.decisions import ControlApplied
from tests.agents.execution.shard.test_adjust import adjust
from tests.agents.execution.stepping import LONG, advance, filled, orders, said, said_by
from tests.builders import Scripted, bundle, quote, ready_inputs, shard

FAILS = PolicyError(RejectCode.NOT_FINITE, "NaN")
RESTING = {"order_type": "limit", "time_in_force": "GTC", "limit_offset_ticks": 1}


def flatten(offset: int = 20) -> ControlApplied:
    return said_by(offset, Flatten(scope="portfolio", on=True, who="me", reason="r", ts=0))


def halt(offset: int = 19) -> ControlApplied:
    return said_by(offset, Halt(scope="portfolio", level="halted", writer="r", reason="t", ts=0))


def holding(units: float, *answers: float | Exception, limits: dict[str, Any] | None = None, **actions: Any) -> Shard:
    target = shard(bundle(Scripted(*answers), **actions), limits=limits, max_policy_errors=1)
    advance(target, [], *ready_inputs(), adjust(7, units))
    return target


def until_flat(target: Shard, *inputs: ControlApplied) -> list[tuple[str, float]]:
    """What is sent until nothing is left, each order filled before the next quote."""
    found: list[tuple[str, float]] = []
    for _ in range(9):
        logged = advance(target, [quote()], *inputs)
        if not logged.orders:
            return found
        found += [(side, quantity) for side, quantity, _ in orders(logged)]
        advance(target, [], reports=filled(target, logged))
    raise AssertionError(found)


@pytest.mark.parametrize(
    ("limits", "units", "expected"),
    [
        ({"max_order_quantity": 2.0}, 5.0, [("sell", 2.0), ("sell", 2.0), ("sell", 1.0)]),
        ({"max_order_quantity": 2.0}, -3.0, [("buy", 2.0), ("buy", 1.0)]),
        ({"max_order_value": 201.0}, -4.0, [("buy", 2.0), ("buy", 2.0)]),
        ({"max_order_value": 200.0, "max_order_quantity": 3.0}, 3.0, [("sell", 2.0), ("sell", 1.0)]),
        ({"min_order_quantity": 4.0}, 3.0, [("sell", 3.0)]),
    ],
)
def test_a_flatten_takes_as_many_orders_as_the_maxima_ask_for(
    limits: dict[str, Any], units: float, expected: list[tuple[str, float]]
) -> None:
    target = holding(units, LONG, limits=limits)
    assert until_flat(target, halt(), flatten()) == expected
    assert target.ledger.position_lots("X") == 0


def test_what_a_failed_policy_leaves_is_closed_in_parts_too() -> None:
    target = holding(5.0, FAILS, limits={"max_order_quantity": 2.0})
    assert said(advance(target, [quote()])) == ["POLICY_ERROR"]
    assert until_flat(target) == [("sell", 2.0), ("sell", 2.0), ("sell", 1.0)]


def test_an_order_too_small_for_any_maximum_is_denied_by_name() -> None:
    target = holding(5.0, LONG, limits={"max_order_value": 10.0})
    assert said(advance(target, [quote()], flatten())) == ["MAX_ORDER_VALUE"]


@pytest.mark.parametrize("actions", [{}, RESTING], ids=["market", "resting"])
def test_it_waits_for_no_cancel_and_goes_on_when_the_other_order_fills_after_all(actions: dict[str, Any]) -> None:
    target = holding(1.0, LONG, **actions)
    opened = advance(target, [quote()])
    assert [order[:2] for order in orders(opened)] == [("buy", 2.0)]
    logged = advance(target, [quote()], flatten())
    assert [order[:2] for order in orders(logged)] == [("sell", 1.0)]
    assert [type(message) is Order for message in logged.orders] == [False, True]
    assert advance(target, [quote()]).orders == ()
    advance(target, [], reports=filled(target, opened))
    assert [order[:2] for order in orders(advance(target, [quote()]))] == [("sell", 2.0)]


def test_its_own_orders_are_not_cancelled_while_it_is_on_and_under_a_halt_alone_they_are() -> None:
    target = holding(3.0, LONG)
    advance(target, [quote()], halt(), flatten())
    assert advance(target, [quote()]).orders == ()
    off = said_by(21, Flatten(scope="portfolio", on=False, who="me", reason="r", ts=0))
    assert [getattr(sent, "reason", None) for sent in advance(target, [quote()], off).orders] == ["halted"]
