"""Topic `reports`: what became of orders. Key = instrument. Written by venue adapters."""

from enum import StrEnum
from typing import Literal

from msgspec import Struct

from messages.fields import (
    Money,
    Name,
    Nanoseconds,
    Offset,
    PartitionIndex,
    PositivePrice,
    PositiveSize,
    Price,
    Sequence,
    Side,
    Size,
)


class ReportStatus(StrEnum):
    """State of the order after the report; `cancel_rejected` leaves it as it was."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCEL_REJECTED = "cancel_rejected"

    @property
    def is_final(self) -> bool:
        """Whether the order can't change any more."""
        return self in _FINAL


_FINAL = frozenset({ReportStatus.FILLED, ReportStatus.CANCELED, ReportStatus.REJECTED, ReportStatus.EXPIRED})


class OrderPosition(Struct, frozen=True, kw_only=True):
    """Where the order's record stands on `orders`."""

    partition: PartitionIndex
    offset: Offset


class ExecutionReport(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """One answer to one order. Written by venue adapters; read by execution, risk, venue adapters.

    Goes to the partition *number* of the order's record. `report_seq` counts from 0 per order. Totals
    (`cumulative_quantity` units, `average_price`, `cumulative_fee` in the currency, positive = paid, `leaves_quantity`)
    stand for the whole order: readers apply the difference to what they know, so repeats and disorder are harmless.
    `ts_event` is in the time basis of `ts_recv` (ns).
    """

    exec_id: Name
    order_id: Name
    instrument: Name
    ts_event: Nanoseconds
    side: Side
    strategy: Name
    bundle_id: Name
    status: ReportStatus
    report_seq: Sequence
    cumulative_quantity: Size
    average_price: Price
    cumulative_fee: Money
    leaves_quantity: Size
    order: OrderPosition
    last_quantity: PositiveSize | None = None
    last_price: PositivePrice | None = None
    liquidity: Literal["maker", "taker"] | None = None
    reason: str | None = None
