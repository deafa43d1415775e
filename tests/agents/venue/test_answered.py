"""After a restart: the topic is right, nothing twice, nothing open for ever."""

from typing import Any

from agents.venue.answered import Answered
from messages import ExecutionReport, ReportStatus
from messages.reports import OrderPosition


def said(seq: int, status: str, filled: float = 0.0) -> ExecutionReport:
    fields: dict[str, Any] = {"leaves_quantity": 0.0, "order": OrderPosition(partition=0, offset=1)}
    return ExecutionReport(
        exec_id=f"e{seq}",
        order_id="o",
        instrument="BTC",
        ts_event=1,
        side="buy",
        strategy="s",
        bundle_id="b",
        status=ReportStatus(status),
        report_seq=seq,
        cumulative_quantity=filled,
        average_price=1.0,
        cumulative_fee=0.0,
        **fields,
    )


def answered(*reports: ExecutionReport) -> Answered:
    book = Answered()
    for report in reports:
        book.note(report)
    return book


def test_what_is_on_the_topic_does_not_go_out_again_and_the_rest_does() -> None:
    book = answered(said(0, "new"), said(1, "partially_filled", 2))
    assert book.to_publish(said(0, "new")) is None
    assert book.to_publish(said(1, "partially_filled", 2)) is None
    assert book.to_publish(said(2, "filled", 5)) == said(2, "filled", 5)
    assert book.is_final("o")


def test_an_order_of_which_nothing_was_said_is_reported_as_derived() -> None:
    assert answered().to_publish(said(0, "filled", 5)) == said(0, "filled", 5)


def test_after_its_last_report_an_order_gets_only_answers_to_late_cancels() -> None:
    book = answered(said(0, "filled", 5))
    assert book.to_publish(said(0, "canceled")) is None
    assert book.to_publish(said(1, "filled", 6)) is None
    assert book.to_publish(said(1, "cancel_rejected", 5)) == said(1, "cancel_rejected", 5)
    assert book.to_publish(said(1, "cancel_rejected", 5)) is None


def test_an_open_order_that_is_derived_otherwise_is_closed_with_the_totals_of_the_topic() -> None:
    book = answered(said(0, "new"), said(1, "partially_filled", 2))
    closing = book.to_publish(said(0, "canceled"))
    assert closing is not None
    assert (closing.status, closing.report_seq, closing.cumulative_quantity) == ("canceled", 2, 2)
    assert book.to_publish(said(1, "filled", 5)) is None
