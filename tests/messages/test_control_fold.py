"""The fold of `control`: what is void, and what a Resume can't clear."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import Activate, Adjust, Flatten, Halt, Limits, LogStarted, Override, Resume, Rollout, Shadow, control_key
from messages.control_fold import ControlFold, HaltBook, HaltState, OutOfOrder

DIGEST = "a" * 64


def activate(expects: int, bundle: str = "b1", instrument: str = "BTC", sha256: str = DIGEST) -> Activate:
    return Activate(
        strategy="s", instrument=instrument, bundle_id=bundle, sha256=sha256, expects=expects, ts=0, who="o"
    )


def shadow(expects: int, **named: str) -> Shadow:
    return Shadow(strategy="s", instrument="BTC", expects=expects, ts=0, who="o", **named)


def halt(writer: str = "risk", scope: str = "portfolio", level: str = "halted") -> Halt:
    return msgspec.convert(
        {"type": "Halt", "scope": scope, "level": level, "writer": writer, "reason": "r", "ts": 0}, Halt
    )


def resume(*clears: int, scope: str = "portfolio") -> Resume:
    return Resume(scope=scope, clears=clears, who="ann", reason="r", ts=0)


def test_a_record_that_expects_another_last_offset_is_void() -> None:
    fold = ControlFold()
    assert fold.apply(3, activate(-1, "b1"))
    assert not fold.apply(5, activate(-1, "b2"))
    assert fold.active["s", "BTC"].bundle_id == "b1"


def test_a_void_record_counts_as_the_last_of_its_key() -> None:
    fold = ControlFold()
    fold.apply(0, activate(-1, "b1"))
    fold.apply(1, activate(-1, "void"))
    assert fold.last_offset(control_key(activate(0))) == 1
    assert not fold.apply(2, activate(0, "b2"))
    assert fold.apply(3, activate(2, "b3"))
    assert fold.active["s", "BTC"].bundle_id == "b3"


def test_keys_of_other_instruments_are_independent() -> None:
    fold = ControlFold()
    fold.apply(0, activate(-1))
    assert fold.apply(1, activate(-1, instrument="ETH"))
    assert fold.last_offset("active/s/NONE") == -1


def test_rollout_override_limits_flatten_adjust_and_log_id_are_kept() -> None:
    fold = ControlFold()
    assert fold.apply(0, LogStarted(log_id="log"))
    assert not fold.apply(1, LogStarted(log_id="second"))
    assert fold.apply(
        2, Rollout(strategy="s", bundle_id="b", uri="file:///b", sha256=DIGEST, expects=-1, ts=0, who="o")
    )
    override = Override(strategy="s", instrument="BTC", expects=-1, who="o", reason="r", ts=0, target=2.0)
    assert fold.apply(3, override)
    assert fold.overrides == {("s", "BTC"): 2.0}
    assert fold.apply(4, Override(strategy="s", instrument="BTC", expects=3, who="o", reason="r", ts=0))
    assert fold.overrides == {}
    assert fold.apply(5, Limits(version=1, changes={"x": 1}, who="o", reason="r", ts=0))
    assert not fold.apply(6, Limits(version=3, changes={"x": 1}, who="o", reason="r", ts=0))
    assert fold.apply(7, Flatten(scope="strategy:s", on=True, who="o", reason="r", ts=0))
    assert fold.is_flattening("s", "BTC")
    assert not fold.is_flattening("t", "BTC")
    assert fold.apply(8, Adjust(adjust_id="a", who="o", reason="r", ts=0, cash=1.0))
    assert not fold.apply(9, Adjust(adjust_id="a", who="o", reason="r", ts=0, cash=1.0))
    assert (fold.log_id, fold.limits_version, fold.rollouts["s"].uri, fold.next_offset) == ("log", 1, "file:///b", 10)


def test_what_was_active_before_is_where_a_rollback_goes() -> None:
    fold = ControlFold()
    fold.apply(0, activate(-1, "b1"))
    assert fold.previous == {}
    fold.apply(1, activate(0, "b2", sha256="b" * 64))
    fold.apply(2, activate(1, "b2", sha256="b" * 64))
    assert fold.previous["s", "BTC"].bundle_id == "b1"
    fold.apply(3, activate(2, "b1"))
    assert fold.previous["s", "BTC"].bundle_id == "b2"


def test_a_shadow_stays_until_it_is_ended_and_half_a_name_is_void() -> None:
    fold = ControlFold()
    assert fold.apply(0, shadow(-1, bundle_id="b", uri="file:///b", sha256=DIGEST))
    assert not fold.apply(1, shadow(0, bundle_id="c", sha256=DIGEST))
    assert not fold.apply(2, shadow(0))
    assert fold.shadows["s", "BTC"].bundle_id == "b"
    assert fold.apply(3, shadow(2))
    assert fold.shadows == {}


def test_an_offset_is_folded_once() -> None:
    fold = ControlFold()
    fold.apply(4, halt())
    with pytest.raises(OutOfOrder):
        fold.apply(4, halt())


def test_a_resume_never_clears_a_halt_that_its_author_had_not_seen() -> None:
    book = HaltBook()
    book.apply(1, halt("risk"))
    book.apply(2, halt("ann"))  # races with the resume below, whose author saw offset 1 alone
    book.apply(3, resume(1))
    assert book.level("s", "BTC") == "halted"
    assert [h.offset for h in book.in_force()] == [2]


def test_a_renewed_halt_survives_a_resume_of_the_older_one() -> None:
    book = HaltBook()
    book.apply(1, halt("risk"))
    book.apply(2, halt("risk"))
    book.apply(3, resume(1))
    assert book.level("s", "BTC") == "halted"
    book.apply(4, resume(2))
    assert book.level("s", "BTC") is None


def test_the_strictest_of_portfolio_strategy_and_instrument_counts() -> None:
    book = HaltBook()
    book.apply(1, halt(scope="strategy:s", level="reducing"))
    assert (book.level("s", "BTC"), book.level("t", "BTC")) == ("reducing", None)
    book.apply(2, halt(scope="instrument:BTC"))
    assert (book.level("s", "BTC"), book.level("s", "ETH"), book.level("t", "BTC")) == ("halted", "reducing", "halted")


def test_a_milder_halt_of_the_same_writer_does_not_weaken_the_stricter() -> None:
    book = HaltBook()
    book.apply(1, halt(level="halted"))
    book.apply(2, halt(level="reducing"))
    assert book.level("s", "BTC") == "halted"


records = st.lists(
    st.one_of(
        st.builds(
            halt,
            st.sampled_from(["risk", "ann"]),
            st.sampled_from(["portfolio", "strategy:s", "instrument:BTC"]),
            st.sampled_from(["reducing", "halted"]),
        ),
        st.lists(st.integers(0, 20), max_size=3).map(lambda clears: resume(*clears)),
    ),
    max_size=20,
)


@given(records)
def test_a_halt_is_in_force_until_a_later_resume_names_it_or_its_writer_renews_it(history: list[Halt | Resume]) -> None:
    book = HaltBook()
    for offset, message in enumerate(history):
        book.apply(offset, message)
    expected = []
    for offset, message in enumerate(history):
        if isinstance(message, Halt):
            later = history[offset + 1 :]
            is_cleared = any(isinstance(after, Resume) and offset in after.clears for after in later)
            if not is_cleared and message not in later:
                expected.append(offset)
    assert [in_force.offset for in_force in book.in_force()] == expected
    levels = [
        message.level for offset, message in enumerate(history) if offset in expected and isinstance(message, Halt)
    ]
    assert book.level("s", "BTC") == ("halted" if "halted" in levels else "reducing" if levels else None)


@given(records, st.integers(0, 20))
def test_a_restored_book_goes_on_as_the_original_even_when_records_come_again(
    history: list[Halt | Resume], cut: int
) -> None:
    book = HaltBook()
    for offset, message in enumerate(history):
        book.apply(offset, message)
    early = HaltBook()
    for offset, message in enumerate(history[:cut]):
        early.apply(offset, message)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(early.snapshot()), type=HaltState)
    restored = HaltBook.restore(state)
    for offset, message in list(enumerate(history))[cut:]:
        restored.apply(offset, message)
        restored.apply(offset, message)
    assert restored.snapshot() == book.snapshot()
    assert restored.level("s", "BTC") == book.level("s", "BTC")
