"""The orders that an adapter knows, and how it comes to know them again after a start."""

from collections import deque
from collections.abc import Iterable, Mapping

from agents.venue.adapter.account import Account, Phase
from messages import Cancel, ExecutionReport, Order, Record
from messages.orders import OrderMessage
from messages.reports import OrderPosition


class Orders:
    """Accounts by order id: all that are open, and the newest of the finished ones."""

    def __init__(self, keeps_finished: int) -> None:
        self._keeps_finished = keeps_finished
        self._accounts: dict[str, Account] = {}
        self._finished: deque[str] = deque()

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._accounts

    def __len__(self) -> int:
        return len(self._accounts)

    def get(self, order_id: str) -> Account | None:
        """Return the account of an order, or None when it is not known (any more)."""
        return self._accounts.get(order_id)

    def open(self, record: Record, order: Order) -> Account:
        """Take in a new order."""
        account = Account(order, OrderPosition(partition=record.partition, offset=record.offset))
        self._accounts[order.order_id] = account
        return account

    def finished(self, account: Account) -> None:
        """An order is finished; the oldest of those that are is forgotten."""
        self._finished.append(account.order.order_id)
        if len(self._finished) > self._keeps_finished:
            del self._accounts[self._finished.popleft()]

    def doubtful(self) -> list[tuple[Account, int]]:
        """Return the orders of which the venue has to be asked, and since when (ns), oldest first."""
        accounts = self._accounts.values()
        return [(account, since_ns) for account in accounts if (since_ns := account.doubted_since_ns) is not None]

    def doubt_all_open(self, now_ns: int) -> None:
        """Let the venue be asked about each open order."""
        for account in self._accounts.values():
            if not account.is_final:
                account.doubt(now_ns)

    def recall(
        self, messages: Iterable[tuple[Record, OrderMessage]], reports: Iterable[ExecutionReport], now_ns: int
    ) -> None:
        """Take in what stood on the topics at the start. Orders without a last report are in doubt."""
        said = _newest(reports)
        for record, message in messages:
            if isinstance(message, Order) and message.order_id not in self:
                account = self.open(record, message)
                account.phase = Phase.SENT  # for all that is known: never again
                if (newest := said.get(message.order_id)) is not None:
                    account.resume(newest[0], is_final=newest[1])
                if account.is_final:
                    self.finished(account)
                else:
                    account.doubt(now_ns)
            elif isinstance(message, Cancel) and (known := self.get(message.order_id)) is not None:
                known.wants_cancel = True


def _newest(reports: Iterable[ExecutionReport]) -> Mapping[str, tuple[ExecutionReport, bool]]:
    """Return the newest report of each order, and whether one of its reports was the last."""
    found: dict[str, tuple[ExecutionReport, bool]] = {}
    for report in reports:
        newest, is_final = found.get(report.order_id, (report, False))
        newer = report if report.report_seq > newest.report_seq else newest
        found[report.order_id] = newer, is_final or report.status.is_final
    return found
