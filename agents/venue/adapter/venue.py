"""What a user writes to connect a venue: six calls, and the one shape in which orders come back."""

from typing import Literal, Protocol

from msgspec import Struct

from messages import Order, Refused, ReportStatus, Retryable


class VenueRefused(Refused):
    """Raised by a venue that says no: to an order that it will never work, to a cancel that comes too late."""


class VenueAway(Retryable):
    """Raised by a venue that can't be reached: what was asked may have happened or not."""


class VenueOrder(Struct, frozen=True, kw_only=True):
    """An order as the venue sees it, all of it: so an event may come twice, late or never.

    `filled` in units, `value` the sum of price x quantity over its fills, `fee` in the currency (positive: paid), `ts`
    in ns. `liquidity` is that of the last fill.
    """

    order_id: str
    status: ReportStatus
    ts: int
    filled: float = 0.0
    value: float = 0.0
    fee: float = 0.0
    liquidity: Literal["maker", "taker"] | None = None
    reason: str | None = None


class Venue(Protocol):
    """A connection to a venue. Orders are named by their `order_id`: the client order id of most venues.

    Every call is bounded by the adapter: it may be cancelled at any point, and counts as VenueAway then.
    """

    async def connect(self) -> None:
        """Connect, again after VenueAway; `state` then knows whatever the venue will ever know of earlier submissions.

        Raises VenueAway.
        """
        ...

    async def submit(self, order: Order) -> None:
        """Place an order; return when the venue has taken it. `reduce_only` is the venue's to keep.

        Raises VenueRefused when the order will never be worked, and VenueAway.
        """
        ...

    async def cancel(self, order_id: str) -> None:
        """Ask for the rest of an order to be cancelled; what becomes of it is an event.

        Raises VenueRefused when it is too late, and VenueAway.
        """
        ...

    async def state(self, order_id: str) -> VenueOrder | None:
        """Return an order as it is now, finished ones too; None: never heard of it. Raises VenueAway."""
        ...

    async def next_event(self, timeout_s: float) -> VenueOrder | None:
        """Return the next order that has changed, or None when none has in time. Raises VenueAway."""
        ...

    async def close(self) -> None:
        """Close the connection; orders stay. Safe to call twice."""
        ...
