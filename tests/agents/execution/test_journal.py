"""The journal: what goes into a header, and when a step may go to `decisions`."""

import math

import pytest

from agents.execution.journal import MAX_FLUSH_BYTES, Entry, Journal, grouped
from messages import Decision, LoggedStep, Order, OutcomeCode, Step, decode
from messages.errors import NotFinite
from tests.builders import START_NS, source


def order(seq: int) -> Order:
    return Order(
        order_id=f"o{seq}",
        seq=seq,
        epoch=0,
        instrument="X",
        side="buy",
        quantity=1.0,
        order_type="market",
        time_in_force="IOC",
        strategy="s",
        bundle_id="b",
        source=source(seq),
        ts_decided=START_NS,
    )


def logged(n: int, *orders: Order) -> LoggedStep:
    return LoggedStep(step=Step(n=n, market_from=n, market_to=n, clock_ns=n, reports_to=0), orders=orders)


def steps_in(batch: bytes | None) -> list[int]:
    return [] if batch is None else [step.step.n for step in decode("decisions", batch).steps]


def flushable(journal: Journal) -> list[int]:
    return [entry.n for group in journal.flushable() for entry in group]


def journal() -> Journal:
    return Journal(partition=0, epoch=3, next_step=0)


def test_a_header_carries_all_steps_since_the_last_one() -> None:
    log = journal()
    assert log.add(logged(0)) is None
    assert steps_in(log.add(logged(1, order(0)))) == [0, 1]
    assert log.add(logged(2)) is None
    assert steps_in(log.add(logged(3, order(1)))) == [2, 3]


def test_a_header_leaves_out_what_is_acknowledged_on_decisions() -> None:
    log = journal()
    log.add(logged(0))
    log.add(logged(1))
    log.decisions_acknowledged(0)
    assert steps_in(log.add(logged(2, order(0)))) == [1, 2]


def test_a_step_is_not_flushed_before_its_orders_and_those_before_it_are_acknowledged() -> None:
    log = journal()
    log.add(logged(0))
    log.add(logged(1, order(0)))
    log.add(logged(2))
    assert flushable(log) == [0]
    log.orders_acknowledged(1)
    assert flushable(log) == [0, 1, 2]


def test_orders_acknowledged_out_of_turn_are_refused() -> None:
    log = journal()
    log.add(logged(0, order(0)))
    log.add(logged(1, order(1)))
    with pytest.raises(ValueError, match="out of turn"):
        log.orders_acknowledged(1)


def test_the_batch_is_the_message_that_its_struct_would_encode() -> None:
    log = journal()
    header = log.add(logged(0, order(0)))
    assert header is not None
    batch = decode("decisions", header)
    assert (batch.epoch, batch.partition, batch.steps) == (3, 0, (logged(0, order(0)),))


def test_groups_fit_into_one_record() -> None:
    half = Entry(n=0, encoded=b"x" * (MAX_FLUSH_BYTES // 2))
    assert [len(group) for group in grouped([half] * 5)] == [2, 2, 1]
    assert grouped([]) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_with_a_number_that_is_not_finite_is_not_taken(bad: float) -> None:
    book = journal()
    decision = Decision(outcome=OutcomeCode.HOLD, action=(bad,))
    step = Step(n=0, market_from=0, market_to=1, clock_ns=0, reports_to=0)
    with pytest.raises(NotFinite, match=r"Decision\.action"):
        book.add(LoggedStep(step=step, decisions=(decision,)))
    assert len(book) == 0
