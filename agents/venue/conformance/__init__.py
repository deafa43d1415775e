"""What every venue adapter must guarantee, as cases that anyone can run on theirs: docs/venue-adapters.md."""

from agents.venue.conformance.case import Case, try_case
from agents.venue.conformance.cases import CASES
from agents.venue.conformance.contract import NotConforming, Offer, VenueUnderTest
from agents.venue.conformance.promises import broken_promises

__all__ = ["CASES", "Case", "NotConforming", "Offer", "VenueUnderTest", "broken_promises", "try_case"]
