"""When too much can't be read the shard trades carefully, says so, and comes back by itself."""

import msgspec
import pytest

from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from agents.execution.shard.intake import DeadLetterLimits, Intake, IntakeState, Turn
from messages import Cancel, LoggedStep, Order, Record
from messages.decisions import RiskAlive
from tests.builders import SECOND, START_NS, Scripted, bundle, quote, ready_inputs, record, report, shard, step_of

LIMITS = DeadLetterLimits(max_run=5, max_ratio=0.2, window_records=50, min_records=10, hold_ms=2_000)
LONG, FLAT = 2.0, 1.0


def feed(intake: Intake, pattern: str, *, offset: int = 0, at_ns: int = 0) -> list[Turn]:
    """Count records: `.` good, `x` bad."""
    turns = []
    for index, kind in enumerate(pattern, start=offset):
        turn = intake.good(at_ns) if kind == "." else intake.bad(index, f"bad {index}", at_ns)
        if turn is not None:
            turns.append(turn)
    return turns


def test_a_run_of_bad_records_begins_it_at_the_limit_and_names_the_first_and_the_newest() -> None:
    intake = Intake("market", msgspec.structs.replace(LIMITS, max_ratio=1.0))
    assert feed(intake, "....xxxx.xxxx.......") == []
    (turn,) = feed(intake, "xxxxx", offset=20, at_ns=7)
    assert turn.has_begun
    assert (turn.unreadable.since_ns, turn.unreadable.reason) == (7, "bad 24")
    assert turn.unreadable.first_offset == 4  # the oldest bad one within the window
    assert intake.unreadable == turn.unreadable


def test_too_large_a_share_begins_it_without_any_run_but_not_before_there_are_enough() -> None:
    intake = Intake("market", LIMITS)
    assert feed(intake, "x..x..x..") == []  # a third, of nine
    (turn,) = feed(intake, "x", offset=9)
    assert (turn.has_begun, turn.unreadable.first_offset, turn.unreadable.count) == (True, 0, 4)


def test_a_share_within_the_limit_never_begins_it() -> None:
    assert feed(Intake("market", LIMITS), "....x" * 400) == []


def test_what_has_left_the_window_is_forgotten() -> None:
    intake = Intake("market", LIMITS)
    feed(intake, "xx")
    feed(intake, "." * 60, offset=2)
    assert intake.snapshot().bad == ()


def test_it_ends_by_itself_when_the_stream_is_good_and_the_hold_is_over() -> None:
    intake = Intake("market", LIMITS)
    feed(intake, "x" * 5)
    assert feed(intake, "." * 500, at_ns=1_999_999_999) == []  # good, but too early
    (turn,) = feed(intake, ".", at_ns=2_000_000_000)
    assert not turn.has_begun
    assert turn.unreadable.since_ns == 0
    assert intake.unreadable is None
    assert feed(intake, "." * 20 + "xxxx" + "." * 20, at_ns=2_000_000_001) == []  # counted anew


def test_it_lasts_while_more_than_half_the_limit_is_bad() -> None:
    intake = Intake("market", LIMITS)
    feed(intake, "x" * 5)
    assert feed(intake, "x....x...." * 50, at_ns=9 * SECOND) == []  # a fifth
    (turn,) = feed(intake, "x.........", at_ns=9 * SECOND)  # a tenth
    assert not turn.has_begun
    assert turn.unreadable.count == 5 + 100 + 1


def test_floods_in_bursts_turn_it_no_more_often_than_the_hold_allows() -> None:
    intake = Intake("market", LIMITS)
    turns = []
    for millisecond in range(10_000):
        turns += feed(intake, "xxxxx" + "." * 20, at_ns=millisecond * 1_000_000)
    assert len(turns) <= 2 * 5 + 1


def test_the_state_goes_on_where_it_was_after_any_number_of_records() -> None:
    pattern = ("x...." * 12 + "xxxxx" + "." * 12 + "x" * 7 + "." * 40) * 2
    for cut in range(0, len(pattern), 7):
        straight, first = Intake("market", LIMITS), Intake("market", LIMITS)
        feed(straight, pattern[:cut], at_ns=1)
        feed(first, pattern[:cut], at_ns=1)
        state = msgspec.json.decode(msgspec.json.encode(first.snapshot()), type=IntakeState)
        restored = Intake("market", LIMITS, state)
        rest = pattern[cut:]
        assert feed(restored, rest, offset=cut, at_ns=3 * SECOND) == feed(straight, rest, offset=cut, at_ns=3 * SECOND)
        assert restored.snapshot() == straight.snapshot()


def test_what_it_keeps_is_bounded() -> None:
    intake = Intake("market", LIMITS)
    feed(intake, "x" * 100_000)
    assert len(msgspec.json.encode(intake.snapshot())) < 1_000


BAD = b"{"


def live(**dead_letters: object) -> Shard:
    limits = {"max_run": 5, "min_records": 10, "hold_ms": 0} | dead_letters
    target = shard(bundle(Scripted(LONG, FLAT)), dead_letters=msgspec.convert(limits, DeadLetterLimits))
    advance(target, [], inputs=ready_inputs())
    return target


def advance(
    target: Shard,
    messages: list[object],
    *,
    inputs: tuple[object, ...] = (),
    reports: list[Record] | None = None,
    at_ns: int = START_NS,
) -> LoggedStep:
    market = [record(message, target.market_to + index, at_ns=at_ns) for index, message in enumerate(messages)]
    return target.step(step_of(target, market, *inputs, reports=reports, at_ns=at_ns), market, reports or [])  # type: ignore[arg-type]


def said(logged: LoggedStep) -> list[str]:
    return [str(d.denial.code) if d.denial is not None else d.outcome.value for d in logged.decisions]


def test_a_flood_of_bad_records_denies_entries_with_the_reason_lets_exits_pass_and_ends() -> None:
    target = live()
    order = advance(target, [quote()]).orders[0]
    assert isinstance(order, Order)
    advance(target, [], reports=[record(report(order), 0, topic="reports")])
    flooded = advance(target, [BAD] * 20 + [quote()])
    assert said(flooded) == ["refused"] * 20 + ["order"]  # the exit
    closing = flooded.orders[0]
    assert isinstance(closing, Order)
    assert (closing.side, closing.quantity) == ("sell", 3.0)
    (begun,) = target.intakes.take_turns()
    assert begun.has_begun
    assert (begun.unreadable.first_offset, begun.unreadable.count) == (1, 5)


def test_an_entry_is_denied_for_bad_input_until_the_stream_is_good_again() -> None:
    target = shard(bundle(Scripted(LONG)), dead_letters=DeadLetterLimits(max_run=5, min_records=10, hold_ms=0))
    advance(target, [], inputs=ready_inputs())
    assert said(advance(target, [BAD] * 5 + [quote()])) == ["refused"] * 5 + ["BAD_INPUT"]
    assert set(target.intakes.unreadable) == {"market"}
    after = said(advance(target, [quote()] * 12))
    assert after[:8] == ["BAD_INPUT"] * 8
    assert after[8] == "order"
    assert [turn.has_begun for turn in target.intakes.take_turns()] == [True, False]
    assert target.intakes.unreadable == {}


def test_a_halt_and_risks_silence_are_named_before_bad_input() -> None:
    target = shard(bundle(Scripted(LONG)), dead_letters=DeadLetterLimits(max_run=5, min_records=10))
    advance(target, [], inputs=ready_inputs())
    assert said(advance(target, [BAD] * 5 + [quote()], inputs=(RiskAlive(alive=False),)))[-1] == "RISK_AWAY"
    assert said(advance(target, [quote()], inputs=(RiskAlive(alive=True),))) == ["BAD_INPUT"]


def test_unreadable_reports_count_too() -> None:
    target = live()
    advance(target, [], reports=[record(BAD, offset, topic="reports") for offset in range(5)])
    assert set(target.intakes.unreadable) == {"reports"}
    assert said(advance(target, [quote()])) == ["BAD_INPUT"]


def test_messages_of_a_newer_writer_are_refused_and_not_held_against_the_topic() -> None:
    target = live()
    assert said(advance(target, [b'{"type":"Auction"}'] * 60 + [quote()]))[-1] == "order"


def test_instruments_that_are_not_traded_here_are_refused_and_not_held_against_the_topic() -> None:
    target, stranger = live(), msgspec.structs.replace(quote(), instrument="UNTRADED")
    start = target.market_to
    market = [record(stranger, start + index, key=b"UNTRADED") for index in range(60)] + [record(quote(), start + 60)]
    assert said(target.step(step_of(target, market), market, [])) == ["refused"] * 60 + ["order"]


def test_nothing_is_cancelled_and_nothing_halts() -> None:
    target = live()
    advance(target, [quote()])
    flooded = advance(target, [BAD] * 60)
    assert not [message for message in flooded.orders if isinstance(message, Cancel)]


@pytest.mark.parametrize("cut", range(6))
def test_replay_adoption_and_a_checkpoint_anywhere_come_to_the_same(cut: int) -> None:
    batches: list[list[object]] = [[quote()], [BAD] * 3, [BAD] * 3 + [quote()], [quote()] * 5, [quote()] * 8, [quote()]]
    straight = live()
    straight_log, market = [], []
    for messages in batches:
        ticks = [record(message, straight.market_to + index) for index, message in enumerate(messages)]
        straight_log.append(straight.step(step_of(straight, ticks), ticks, []))
        market.append(ticks)
    other = live()
    for logged, ticks in zip(straight_log[:cut], market[:cut], strict=True):
        other.adopt(logged, ticks, [])
    restored = shard(bundle(Scripted(FLAT)), dead_letters=DeadLetterLimits(max_run=5, min_records=10, hold_ms=0))
    restored.restore(checkpoint_of(other))
    for logged, ticks in zip(straight_log[cut:], market[cut:], strict=True):
        restored.adopt(logged, ticks, [])
    assert msgspec.json.decode(restored.snapshot())["intakes"] == msgspec.json.decode(straight.snapshot())["intakes"]
    assert "BAD_INPUT" in [code for logged in straight_log for code in said(logged)]
