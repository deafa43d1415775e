"""All cases, in the order of docs/venue-adapters.md."""

from agents.venue.conformance import answering, dying, obeying, trading

CASES = (*answering.CASES, *obeying.CASES, *trading.CASES, *dying.CASES)
