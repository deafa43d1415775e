"""The repeated-execution throttle, seen from outside: told once, and open again only after a person has looked."""

from agents.execution.alerts import alert_of
from agents.execution.shard import Shard
from messages import Alert, Halt, Resume
from messages.decisions import ControlApplied
from tests.agents.execution.stepping import LONG, SHORT, advance, codes, filled, said, said_by
from tests.builders import Scripted, bundle, quote, ready_inputs, record, shard


def flipping(times: int) -> Shard:
    """A shard whose policy flips at each quote, and that has traded so many times; the third order is the last."""
    target = shard(bundle(Scripted(LONG, SHORT, LONG, SHORT)), limits={"max_repeated_executions": 3})
    advance(target, [], *ready_inputs())
    for _ in range(times):
        advance(target, [], reports=filled(target, advance(target, [quote()])))
    return target


def alerts(target: Shard) -> list[Alert]:
    return [alert_of(notice, 0, "execution-1") for notice in target.take_notices()]


def halt(offset: int, scope: str = "instrument:X") -> ControlApplied:
    return said_by(offset, Halt(scope=scope, level="halted", writer="r", reason="t", ts=0))


def resume(offset: int, *clears: int, scope: str = "instrument:X") -> ControlApplied:
    return said_by(offset, Resume(scope=scope, clears=clears, who="me", reason="looked", ts=0))


def test_the_order_that_closes_the_throttle_is_told_once_by_name() -> None:
    target = flipping(2)
    assert (alerts(target), target.throttled) == ([], ())
    logged = advance(target, [quote()])
    assert said(logged) == ["order"]
    (alert,) = alerts(target)
    assert (alert.code, alert.severity, alert.instrument) == ("REPEATED_EXECUTION", "critical", "X")
    assert alert.text.startswith("s X: 3 orders within 60000 ms have closed the repeated-execution throttle")
    assert "tickpilot resume --scope instrument:X" in alert.text
    advance(target, [], reports=filled(target, logged))
    assert said(advance(target, [quote()])) == ["REPEATED_EXECUTION"]
    assert (alerts(target), target.throttled) == ([], ("X",))


def test_a_resume_alone_does_not_open_it_its_author_may_not_have_seen_it() -> None:
    target = flipping(3)
    assert said(advance(target, [quote()], halt(7, "strategy:other"), resume(8, 7))) == ["REPEATED_EXECUTION"]
    assert said(advance(target, [quote()], resume(9, scope="portfolio"))) == ["REPEATED_EXECUTION"]


def test_a_halt_takes_its_place_and_who_clears_that_opens_it() -> None:
    target = flipping(3)
    assert said(advance(target, [quote()], halt(7))) == ["HALTED"]
    assert target.throttled == ()
    assert said(advance(target, [quote()], resume(8, 6))) == ["HALTED"]
    assert said(advance(target, [quote()], resume(9, 7))) == ["order"]


def test_who_adopts_the_log_and_who_restores_a_checkpoint_finds_it_closed_too() -> None:
    from agents.execution.shard.checkpoint import checkpoint_of

    stepped, adopted = flipping(2), flipping(2)
    logged = advance(stepped, [quote()])
    adopted.adopt(logged, [record(quote(), adopted.market_to)], [])
    assert adopted.snapshot() == stepped.snapshot()
    assert codes(alerts(adopted)) == codes(alerts(stepped)) == ["REPEATED_EXECUTION"]
    restored = shard(bundle(Scripted(SHORT)), limits={"max_repeated_executions": 3})
    restored.restore(checkpoint_of(stepped))
    assert restored.throttled == ("X",)
