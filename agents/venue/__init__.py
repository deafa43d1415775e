"""The paper venue: orders judged against the market that was recorded, and answered once."""

from agents.venue.agent import VenueAgent
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig

__all__ = ["PaperBook", "VenueAgent", "VenueConfig"]
