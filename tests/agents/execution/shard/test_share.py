"""A shard enforces its share of the portfolio's exposure limits, from `control` alone, and replay derives it again."""

from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import ShardConfig
from agents.replay.player import rederive
from agents.risk.limits.file import Limits as LimitsFile
from messages import Limits, LoggedStep, Record
from messages.decisions import ControlApplied
from tests.agents.execution.stepping import FLAT, LONG, SHORT, advance, filled, orders
from tests.builders import Scripted, X, bundle, quote, ready_inputs, record


def new_shard(*answers: float, partitions: int = 2) -> Shard:
    """A shard whose policy goes long or short by 3 at 100; the portfolio may hold 600."""
    serving = bundle(Scripted(*answers))
    limits = {"defaults": {"duplicate_window_ms": 0}, "portfolio": {"max_gross_exposure": 620.0}}
    return Shard(
        ShardConfig(partition=0, instruments={"X": X}, strategies={"X": "s"}, decisions=DecisionConfig(conflate=False)),
        limits=LimitsFile.convert(limits),
        bundles={serving.sha256: serving},
        partitions=partitions,
    )


def gross(offset: int, share: float) -> ControlApplied:
    return ControlApplied(
        offset=offset, message=Limits(version=1, changes={"shares.0.gross": share}, who="risk-1", reason="r", ts=0)
    )


def denials(logged: LoggedStep) -> list[str]:
    return [str(decision.denial) for decision in logged.decisions if decision.denial is not None]


def test_at_the_start_a_shard_has_an_equal_part_and_says_that_it_was_the_share() -> None:
    fits = new_shard(LONG)
    assert denials(advance(fits, [quote()], *ready_inputs())) == []
    small = new_shard(LONG, partitions=4)
    assert denials(advance(small, [quote()], *ready_inputs())) == ["MAX_GROSS_EXPOSURE share=155 resulting=301.5"]


def test_the_share_moves_with_control_and_one_that_would_be_too_large_is_void() -> None:
    target = new_shard(LONG)
    advance(target, [], *ready_inputs(), gross(6, 0.25))
    assert denials(advance(target, [quote()])) == ["MAX_GROSS_EXPOSURE share=155 resulting=301.5"]
    assert denials(advance(target, [quote()], gross(7, 0.75))) == ["MAX_GROSS_EXPOSURE share=155 resulting=301.5"]
    assert denials(advance(target, [quote()], gross(8, 0.5))) == []


def test_a_share_of_nothing_lets_a_position_be_closed_but_not_opened() -> None:
    target = new_shard(LONG, FLAT, SHORT)
    opened = advance(target, [quote()], *ready_inputs())
    assert len(opened.orders) == 1
    closed = advance(target, [quote()], gross(6, 0.0), reports=filled(target, opened))
    assert orders(closed) == [("sell", 3.0, "bundle-aaaa")]
    assert denials(advance(target, [quote()], reports=filled(target, closed)))[0].startswith(
        "MAX_GROSS_EXPOSURE share=0"
    )


def test_replay_and_a_checkpoint_know_the_share() -> None:
    live, steps, market = new_shard(LONG, SHORT, LONG, SHORT), [], list[Record]()
    for index, inputs in enumerate([ready_inputs(), (gross(6, 0.2),), (), (gross(9, 0.5),)]):
        ticks = [record(quote(bid=100.0 + index, ask=101.0 + index), index)]
        steps.append(advance(live, [quote(bid=100.0 + index, ask=101.0 + index)], *inputs))
        market += ticks
        if index == 1:
            checkpoint = checkpoint_of(live)
    assert [len(denials(step)) for step in steps] == [0, 1, 0, 1]
    derived = rederive(new_shard(LONG, SHORT, LONG, SHORT), steps, market, [])
    assert derived.mismatch is None
    restored = new_shard(LONG, SHORT)
    restored.restore(checkpoint)
    restored.refill(market[:2])
    assert [advance(restored, [quote(bid=102.0, ask=103.0)])] == steps[2:3]
