"""The venue under test, as the cases see it."""

from enum import StrEnum
from typing import Protocol

from agents.risk.instruments import Instrument
from messages import Bus, Clock, Quote


class NotConforming(Exception):  # noqa: N818 - the answer of a test
    """Raised when a venue does not keep a guarantee; the text says which, and what was seen."""


class Offer(StrEnum):
    """What not every venue can do. A venue that does not offer it must refuse such orders, with a reason."""

    FOK = "fill or kill"
    POST_ONLY = "post-only"
    REDUCE_ONLY = "reduce-only"


class VenueUnderTest(Protocol):
    """An adapter with its venue, on a bus whose topics are new, and a market that does as it is told."""

    @property
    def bus(self) -> Bus:
        """A connection of one's own to the bus that the adapter is on."""
        ...

    @property
    def clock(self) -> Clock:
        """The adapter's clock; it moves by itself."""
        ...

    @property
    def instrument(self) -> Instrument:
        """What the cases trade, around a price of 1,000 price steps, in quantities of up to 100 quantity steps."""
        ...

    @property
    def offers(self) -> frozenset[Offer]:
        """What the venue can do."""
        ...

    async def start(self) -> None:
        """Return when the adapter works."""
        ...

    async def stop(self) -> None:
        """Stop the adapter as an operator does; the venue itself goes on."""
        ...

    async def kill(self) -> None:
        """End the adapter at once, wherever it stands, as SIGKILL does; the venue itself goes on."""
        ...

    async def show(self, quote: Quote) -> None:
        """Let the venue's market be this from now on. The quote stands on `market` already."""
        ...

    async def position(self) -> float | None:
        """Return the venue's own position in the instrument (units, signed); None when it can't tell."""
        ...
