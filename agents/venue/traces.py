"""The trace context of open orders, so that a report carries on what its order came with."""

from messages import ExecutionReport, Record
from messages.codec import Headers
from messages.trace import trace_of

MAX_TRACES = 100_000


class Traces:
    """The `traceparent` of orders that may still be answered, at most MAX_TRACES: then the oldest is forgotten."""

    def __init__(self) -> None:
        self._by_order: dict[tuple[int, int], Headers] = {}

    def __len__(self) -> int:
        return len(self._by_order)

    def note(self, order: Record) -> None:
        """An order was read."""
        if trace := trace_of(order.headers):
            if len(self._by_order) >= MAX_TRACES:
                del self._by_order[next(iter(self._by_order))]
            self._by_order[order.partition, order.offset] = trace

    def headers_of(self, report: ExecutionReport) -> Headers:
        """Return the headers for a report; the order's last one takes the trace with it."""
        if not self._by_order:
            return ()
        place = report.order.partition, report.order.offset
        if report.status.is_final:
            return self._by_order.pop(place, ())
        return self._by_order.get(place, ())
