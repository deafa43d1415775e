"""Every record can say why it led to an order or to none, from what the log says alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.replay.explain import Explanation
from agents.replay.outcomes import DENIALS, OUTCOMES
from agents.replay.tail import by_topic, newest_of, source_of
from agents.replay.wording import line_of, lines_of
from agents.risk.kill_switch import TradingState
from bundles.errors import PolicyError
from bundles.features import Feature
from messages import (
    Cancel,
    DecisionBatch,
    DenialCode,
    Flatten,
    Halt,
    Order,
    OutcomeCode,
    Override,
    RejectCode,
    encode,
)
from messages.decisions import BundleShadowed, ControlApplied, MarketGap, RiskAlive
from tests.agents.replay.decided_log import DecidedLog, trading
from tests.builders import DIGEST, SECOND, START_NS, quote, ready_inputs, record, step_of

LONG, FLAT = 2.0, 1.0
ROOT = Path(__file__).resolve().parents[3]


def control(message: Any, offset: int = 9) -> ControlApplied:
    return ControlApplied(offset=offset, message=message)


def halted(level: Any = "halted") -> ControlApplied:
    return control(Halt(scope="instrument:X", level=level, writer="ann", reason="odd prices", ts=1))


def ordered() -> tuple[DecidedLog, int]:
    log = trading(LONG)
    log.step([quote()])
    return log, 0


def held() -> tuple[DecidedLog, int]:
    log = trading(FLAT)
    log.step([quote()])
    return log, 0


def within_dead_band() -> tuple[DecidedLog, int]:
    log = trading(0.5, kind="continuous", dead_band=2.0)
    log.step([quote()])
    return log, 0


def conflated() -> tuple[DecidedLog, int]:
    log = trading(LONG, conflate=True)
    log.step([quote(), quote()])
    return log, 0


def stale() -> tuple[DecidedLog, int]:
    log = trading(LONG, max_decision_age_ms=100)
    log.step([quote()])
    log.step([quote()], at_ns=START_NS + SECOND)
    return log, 1


def denied() -> tuple[DecidedLog, int]:
    log = trading(LONG)
    log.step([quote()], halted())
    return log, 0


def overridden() -> tuple[DecidedLog, int]:
    log = trading(LONG)
    target = Override(strategy="s", instrument="X", expects=-1, ts=1, who="ann", reason="r", target=0.0)
    log.step([quote()], control(target))
    return log, 0


def without_bundle() -> tuple[DecidedLog, int]:
    log = DecidedLog(LONG)
    log.step([quote()], *ready_inputs()[:2])
    return log, 0


def shadowed() -> tuple[DecidedLog, int]:
    log = DecidedLog(LONG)
    shadow = BundleShadowed(offset=7, strategy="s", instrument="X", bundle_id="bundle-aaaa", sha256=DIGEST)
    log.step([quote()], *ready_inputs()[:2], shadow)
    return log, 0


def warming_up() -> tuple[DecidedLog, int]:
    log = trading(LONG, feature=Feature(name="return", params={"events": 10}))
    log.step([quote()])
    return log, 0


def refused() -> tuple[DecidedLog, int]:
    log = trading(LONG)
    log.step([b"{", quote()])
    return log, 0


MADE: dict[OutcomeCode, Callable[[], tuple[DecidedLog, int]]] = {
    OutcomeCode.ORDER: ordered,
    OutcomeCode.HOLD: held,
    OutcomeCode.DEAD_BAND: within_dead_band,
    OutcomeCode.CONFLATED: conflated,
    OutcomeCode.STALE: stale,
    OutcomeCode.DENIED: denied,
    OutcomeCode.OVERRIDE: overridden,
    OutcomeCode.SHADOW: shadowed,
    OutcomeCode.WARMING_UP: warming_up,
    OutcomeCode.NO_BUNDLE: without_bundle,
    OutcomeCode.REFUSED: refused,
}


@pytest.mark.parametrize("code", MADE)
def test_each_outcome_is_explained_in_words_and_values(code: OutcomeCode) -> None:
    log, offset = MADE[code]()
    (found,) = log.explain(offset)
    assert (found.partition, found.offset, found.outcome) == (0, offset, code)
    assert code.value in line_of(found)
    text = "\n".join(lines_of(found))
    assert found.sentence in text
    assert (found.standing is None) is (found.message is None) is (code is OutcomeCode.REFUSED)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found


def test_an_order_is_shown_with_what_it_was_decided_from_and_what_became_of_it() -> None:
    log = trading(LONG, LONG, FLAT)
    first = log.step([quote(), quote()]).orders[0]
    assert isinstance(first, Order)
    log.step([quote()], fills=[first])
    before, after, sold = log.explain(0, 1, 2)
    assert before.standing is not None
    assert after.standing is not None
    assert sold.standing is not None
    assert (before.action, before.target, before.standing.position, before.standing.in_flight_buy) == ((2.0,), 3, 0, 0)
    assert before.orders == (first,)
    assert [each.order_id for each in before.reports] == [first.order_id]
    assert (after.outcome, after.standing.position, after.standing.in_flight_buy) == (OutcomeCode.HOLD, 0, 3)
    assert (sold.outcome, sold.standing.position, sold.standing.in_flight_buy) == (OutcomeCode.ORDER, 3, 0)
    assert sold.standing.bundle_id == "bundle-aaaa"
    text = "\n".join(lines_of(before))
    assert f"{first.order_id}: buy 3, market IOC, seq 0" in text
    assert f"{first.order_id} filled, 3 at 100, fee 0, 0 left" in text


def test_what_a_shadow_would_have_done_is_shown() -> None:
    log, offset = shadowed()
    (found,) = log.explain(offset)
    assert found.shadow is not None
    assert (found.shadow.bundle_id, found.shadow.action, found.shadow.target) == ("bundle-aaaa", (LONG,), 3)
    text = "\n".join(lines_of(found))
    assert "control 7: bundle-aaaa shadows X from here on" in text
    assert "bundle-aaaa: answered 2: position 3" in text


def test_a_hold_says_whether_the_policy_was_asked() -> None:
    log = trading(FLAT, decide_every=2)
    log.step([quote(), quote()])
    not_due, content = log.explain(0, 1)
    assert "was not due" in not_due.sentence
    assert "wants what is held" in content.sentence


def test_a_denial_names_the_halt_its_writer_and_its_reason() -> None:
    log, offset = denied()
    (found,) = log.explain(offset)
    assert found.denial is not None
    assert found.denial.code is DenialCode.HALTED
    assert found.standing is not None
    assert found.standing.state is TradingState.HALTED
    assert "instrument:X halted by ann (control 9): odd prices" in "\n".join(lines_of(found))


def test_a_denial_by_a_limit_is_shown_with_its_numbers() -> None:
    log = trading(LONG, limits={"max_position": 2.0})
    log.step([quote()])
    (found,) = log.explain(0)
    assert "MAX_POSITION limit=2 resulting=3, the position could become larger" in found.sentence


def test_a_missing_heartbeat_a_flatten_and_policy_errors_are_named() -> None:
    log = trading(PolicyError(RejectCode.NOT_FINITE, "NaN"), max_policy_errors=5)
    log.step([quote()])
    log.step([quote()], RiskAlive(alive=False))
    log.step([quote()], control(Flatten(scope="portfolio", on=True, who="ann", reason="r", ts=1)))
    _, away, flat = log.explain(0, 1, 2)
    assert away.denial is not None
    assert away.denial.code is DenialCode.POLICY_ERROR
    assert "Risk's heartbeat is missing" in "\n".join(lines_of(away))
    assert "failed 1 times in a row before" in "\n".join(lines_of(away))
    assert flat.outcome is OutcomeCode.OVERRIDE
    assert flat.standing is not None
    assert flat.standing.is_flattening


def test_a_cancel_stands_with_the_record_in_whose_step_it_went_out() -> None:
    log = trading(LONG, order_timeout_ms=1_000)
    log.step([quote()])
    cancel = log.step([quote()], at_ns=START_NS + 2 * SECOND).orders[0]
    assert isinstance(cancel, Cancel)
    (found,) = log.explain(1)
    assert found.cancels == (cancel,)
    assert f"{cancel.cancel_id}: no answer in time" in "\n".join(lines_of(found))


def test_the_state_is_the_same_from_a_checkpoint_and_from_the_beginning() -> None:
    log = trading(LONG, FLAT, LONG)
    order = log.step([quote()]).orders[0]
    assert isinstance(order, Order)
    log.step([quote()], halted("reducing"), fills=[order])
    whole = log.explain(1)
    log = trading(LONG, FLAT, LONG)
    log.step([quote()])
    log.checkpoint()
    log.step([quote()], halted("reducing"), fills=[order])
    log.checkpoint()
    assert log.read(1).checkpoint is not None
    assert log.explain(1) == whole


def test_where_the_log_begins_in_the_middle_outcomes_are_told_and_the_state_is_not() -> None:
    log = trading(LONG)
    log.step([quote()])
    log.step([quote()])
    del log.records[next(i for i, r in enumerate(log.records) if r.topic == "decisions" and r.offset == 1)]
    (found,) = log.explain(1)
    assert (found.outcome, found.standing) == (OutcomeCode.HOLD, None)
    assert "unknown: the log does not reach back" in "\n".join(lines_of(found))


def test_a_lost_record_and_one_that_nobody_has_read_are_told_so() -> None:
    log = trading(LONG)
    gone = [log.append("market", quote()), log.append("market", quote())]
    for record_gone in gone:
        log.records.remove(record_gone)
    log.records += [record(quote(), 2), record(quote(), 3)]
    market = [log.records[-2]]
    step = step_of(log.shard, market, MarketGap(market_from=0, market_to=2))
    logged = log.shard.step(step, market, [])
    log.append("decisions", DecisionBatch(partition=0, epoch=0, logic_version=2, steps=(logged,)))
    lost, decided, unread = log.explain(0, 2, 3)
    assert "gap" in lost.sentence
    assert decided.outcome is OutcomeCode.ORDER
    assert (unread.outcome, unread.sentence) == (None, "no step has read it yet")


def test_an_order_that_stands_only_in_a_header_of_orders_is_explained_too() -> None:
    log = trading(LONG)
    logged = log.step([quote()])
    batch = encode(DecisionBatch(partition=0, epoch=0, logic_version=2, steps=(logged,)))
    index = next(i for i, r in enumerate(log.records) if r.topic == "orders" and r.offset == 1)
    log.records[index] = msgspec.structs.replace(log.records[index], headers=(("log", batch),))
    log.records.pop()
    assert log.records[-1].topic == "orders"
    (found,) = log.explain(0)
    assert found.orders == logged.orders


def test_orders_are_found_by_their_id_and_by_their_cancels() -> None:
    log, _ = ordered()
    orders = by_topic(log.records)("orders", 0)
    order = next(iter(log.explain(0))).orders[0]
    assert source_of(orders, order.order_id) == source_of(orders, f"{order.order_id}-C") == order.source
    assert source_of(orders, "other") is None


def test_the_newest_records_of_an_instrument_are_found_among_others() -> None:
    market = [record(quote(), offset, key=b"Y" if offset % 2 else b"X") for offset in range(9)]
    assert newest_of(market, "X", 3) == [4, 6, 8]
    assert newest_of(market, "Z", 3) == []


def test_every_code_has_its_sentence() -> None:
    assert set(OUTCOMES) == set(OutcomeCode) == set(MADE)
    assert set(DENIALS) == set(DenialCode)
    sentences = [*OUTCOMES.values(), *DENIALS.values()]
    assert len(set(sentences)) == len(sentences)


def test_the_page_of_outcomes_holds_the_same_sentences() -> None:
    page = (ROOT / "docs" / "outcomes.md").read_text(encoding="utf-8")
    for table in (OUTCOMES, DENIALS):
        rows = "\n".join(f"| `{code.value}` | {sentence} |" for code, sentence in table.items())
        assert rows in page, f"the table should be:\n{rows}"
