"""What `reports` already says after a restart: nothing is answered twice, and nothing stays open for ever.

A restarted venue derives its reports again. Almost always they are those on the topic; a cancel or a halt that raced
with the market may now be judged otherwise. Then the topic is right: its fills stand and the order is closed.
"""

from msgspec import Struct
from msgspec.structs import replace

from agents.venue.reasons import Reason
from agents.venue.working import exec_id
from messages import ExecutionReport, ReportStatus

CLOSED = Reason.CLOSED_AFTER_RESTART.value


class _Said(Struct):
    newest: ExecutionReport
    is_final: bool


class Answered:
    """The newest report of each order that was on the topic at start."""

    def __init__(self) -> None:
        self._said: dict[str, _Said] = {}

    def __len__(self) -> int:
        return len(self._said)

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._said

    def note(self, report: ExecutionReport) -> None:
        """A report is on the topic."""
        said = self._said.get(report.order_id)
        if said is None:
            self._said[report.order_id] = _Said(report, report.status.is_final)
            return
        said.is_final = said.is_final or report.status.is_final
        if report.report_seq > said.newest.report_seq:
            said.newest = report

    def is_final(self, order_id: str) -> bool:
        """Whether the order has its last report."""
        said = self._said.get(order_id)
        return said is not None and said.is_final

    def to_publish(self, report: ExecutionReport) -> ExecutionReport | None:
        """Return what has to go out for a derived report: itself, the closing one, or nothing."""
        said = self._said.get(report.order_id)
        if said is None:
            return report
        newest = said.newest
        if said.is_final:
            # After its end an order only gets answers to late cancels.
            late = report.status is ReportStatus.CANCEL_REJECTED and report.report_seq > newest.report_seq
            return self._went_out(said, report) if late else None
        if report.report_seq > newest.report_seq and report.cumulative_quantity >= newest.cumulative_quantity:
            return self._went_out(said, report)
        differs = report.report_seq == newest.report_seq and (
            report.status is not newest.status or report.cumulative_quantity != newest.cumulative_quantity
        )
        if not differs and not (report.status.is_final and report.report_seq != newest.report_seq):
            return None
        return self._went_out(said, _closing(newest))

    @staticmethod
    def _went_out(said: _Said, report: ExecutionReport) -> ExecutionReport:
        said.newest = report
        said.is_final = said.is_final or report.status.is_final
        return report


def _closing(newest: ExecutionReport) -> ExecutionReport:
    seq = newest.report_seq + 1
    return replace(
        newest,
        exec_id=exec_id(newest.order_id, seq),
        status=ReportStatus.CANCELED,
        report_seq=seq,
        leaves_quantity=0.0,
        last_quantity=None,
        last_price=None,
        liquidity=None,
        reason=CLOSED,
    )
