"""A position corrected by hand: decisions and the gate go by it from that step on."""

from agents.execution.shard import Shard
from messages import Adjust
from messages.decisions import ControlApplied, RiskAlive
from tests.agents.execution.stepping import FLAT, LONG, advance, orders, said, said_by
from tests.builders import START_NS, Scripted, bundle, quote, ready_inputs, record, shard


def live(*answers: float) -> Shard:
    target = shard(bundle(Scripted(*answers)), limits={"max_position": 3.0})
    advance(target, [], *ready_inputs())
    return target


def adjust(offset: int, quantity: float, instrument: str | None = "X", cash: float = 0.0) -> ControlApplied:
    return said_by(
        offset,
        Adjust(
            adjust_id=f"a{offset}", who="me", reason="r", ts=0, instrument=instrument, quantity=quantity, price=100.0,
            cash=cash,
        ),
    )  # fmt: skip


def test_the_corrected_position_is_what_the_policy_and_the_gate_go_by() -> None:
    target = live(LONG)
    assert said(advance(target, [quote()], adjust(7, 3.0))) == ["hold"]
    assert orders(advance(target, [quote()], adjust(8, -1.0))) == [("buy", 1.0, "bundle-aaaa")]
    reducing = live(FLAT)
    logged = advance(reducing, [quote()], adjust(7, 5.0), RiskAlive(alive=False))
    assert orders(logged) == [("sell", 5.0, "bundle-aaaa")]


def test_it_is_booked_once_however_often_the_record_comes() -> None:
    target = live(LONG)
    advance(target, [], adjust(7, 2.0), adjust(7, 2.0))
    advance(target, [], adjust(7, 2.0))
    assert target.ledger.position_lots("X") == 2


def test_cash_other_instruments_and_impossible_quantities_change_nothing_here() -> None:
    target = live(LONG)
    before = target.ledger.snapshot()
    advance(target, [], adjust(7, 0.0, None, cash=5.0), adjust(8, 2.0, "Y"), adjust(9, 0.5))
    advance(target, [], adjust(10, 0.0, "X", cash=5.0))
    assert target.ledger.snapshot().cash_nanos == before.cash_nanos
    assert target.ledger.position_lots("X") == 0


def test_who_adopts_the_log_has_corrected_too() -> None:
    stepped, adopted = live(LONG), live(LONG)
    logged = advance(stepped, [quote()], adjust(7, 1.0))
    assert orders(logged) == [("buy", 2.0, "bundle-aaaa")]
    adopted.adopt(logged, [record(quote(), 0)], [])
    assert adopted.snapshot() == stepped.snapshot()
    assert stepped.desks["X"].held_since_ns == START_NS
