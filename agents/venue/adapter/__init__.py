"""Connects a venue of one's own: write a `Venue`, the adapter keeps what every adapter must guarantee."""

from agents.venue.adapter.agent import AdapterAgent
from agents.venue.adapter.config import AdapterConfig
from agents.venue.adapter.venue import Venue, VenueAway, VenueOrder, VenueRefused

__all__ = ["AdapterAgent", "AdapterConfig", "Venue", "VenueAway", "VenueOrder", "VenueRefused"]
