"""What a case is, and how one is run."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from agents.venue.conformance.contract import NotConforming, Offer, VenueUnderTest
from agents.venue.conformance.desk import Desk


class Case(Struct, frozen=True, kw_only=True):
    """One guarantee and how it is tried. `number` is that of docs/venue-adapters.md."""

    number: int
    title: str
    run: Callable[[Desk, VenueUnderTest], Awaitable[None]]
    needs: frozenset[Offer] = frozenset()

    @property
    def name(self) -> str:
        """The name of its function."""
        return self.run.__name__


async def try_case(case: Case, venue: VenueUnderTest, *, patience_s: float = 20.0) -> None:
    """Start the venue, run the case, stop it, look at all that it said. Raises NotConforming.

    `patience_s`: how long an answer may take. A case whose needs the venue does not offer is left out by the caller.
    """
    desk = await Desk.open(venue, patience_s=patience_s)
    try:
        await venue.start()
        try:
            await case.run(desk, venue)
        finally:
            await venue.stop()
        await desk.check_promises()
    except NotConforming as error:
        raise NotConforming(f"guarantee {case.number}, {case.title}: {error}") from error
    finally:
        await desk.close()
