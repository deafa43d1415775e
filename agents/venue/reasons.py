"""Why the paper venue turned an order down, or ended it: a closed list."""

from enum import StrEnum


class Reason(StrEnum):
    """The first word of a report's `reason`; what follows it are the values."""

    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    QUANTITY_STEP = "QUANTITY_STEP"
    PRICE_STEP = "PRICE_STEP"
    LIMIT_PRICE = "LIMIT_PRICE"
    SOURCE = "SOURCE"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    TOO_OLD = "TOO_OLD"
    TRADING_HALTED = "TRADING_HALTED"
    POST_ONLY = "POST_ONLY"
    REDUCE_ONLY = "REDUCE_ONLY"
    REDUCE_ONLY_RESTS = "REDUCE_ONLY_RESTS"
    FILL_OR_KILL = "FILL_OR_KILL"
    NO_MORE_AT_ONCE = "NO_MORE_AT_ONCE"
    FINISHED = "FINISHED"
    CLOSED_AFTER_RESTART = "CLOSED_AFTER_RESTART"


MEANING: dict[Reason, str] = {
    Reason.UNKNOWN_INSTRUMENT: "rejected: the settings have no such instrument",
    Reason.QUANTITY_STEP: "rejected: the quantity is no positive whole number of quantity steps",
    Reason.PRICE_STEP: "rejected: the limit price is no positive whole number of price steps",
    Reason.LIMIT_PRICE: "rejected: a limit order without a limit price, or a market order with one",
    Reason.SOURCE: "rejected: its source is no record of its instrument on this partition of `market`",
    Reason.OUT_OF_ORDER: "rejected: its source is older than that of an order of its instrument before it",
    Reason.TOO_OLD: "rejected: written more than `max_order_age_ms` after its decision, or its market is forgotten",
    Reason.TRADING_HALTED: "rejected: a Halt holds, and the order is not part of a Flatten",
    Reason.POST_ONLY: "rejected: a post-only order (GTX) that would take",
    Reason.REDUCE_ONLY: "rejected: there is no position that the order would reduce",
    Reason.REDUCE_ONLY_RESTS: "rejected: a reduce-only order takes at once (market, IOC or FOK)",
    Reason.FILL_OR_KILL: "expired: less than all of it was to be had",
    Reason.NO_MORE_AT_ONCE: "expired: this is all that was to be had at once",
    Reason.FINISHED: "cancel rejected: the order has had its last report",
    Reason.CLOSED_AFTER_RESTART: "canceled: derived again, the order went otherwise than it was reported",
}


def reason_text(reason: Reason, values: str = "") -> str:
    """Return the `reason` of a report."""
    return f"{reason}: {values}" if values else reason.value
