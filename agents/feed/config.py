"""What the feed plays, and how fast."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from agents.errors import SettingsError
from agents.feed.columns import ColumnMapping
from agents.feed.instruments import FeesConfig
from agents.feed.source import Source
from agents.feed.synthetic import SyntheticConfig, SyntheticSource
from agents.feed.tabular import TabularSource

Count = Annotated[int, Meta(ge=1)]


class FeedConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the feed agent.

    `speed` is times as recorded; 0 is as fast as it goes, which on a virtual clock means that the feed moves the clock.
    `instrument` names the messages of files that don't; `fees` completes reference data guessed from files.
    """

    source: Literal["synthetic", "files"] = "synthetic"
    synthetic: SyntheticConfig = SyntheticConfig()
    files: tuple[str, ...] = ()
    mappings: tuple[ColumnMapping, ...] = ()
    instrument: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    fees: FeesConfig = FeesConfig()
    speed: Annotated[float, Meta(ge=0)] = 0.0
    max_waiting: Count = 4096  # records of one partition that wait to be sent
    progress_every: Count = 500  # messages between two calls of the progress callback
    stop_timeout_s: Annotated[float, Meta(gt=0)] = 5.0
    heartbeat_interval_ms: Count = 1_000


def open_source(config: FeedConfig) -> Source:
    """Return the configured source, read and checked. Raises FeedRefused, or SettingsError without files."""
    if config.source == "synthetic":
        return SyntheticSource(config.synthetic)
    if not config.files:
        raise SettingsError("feed.files", "source is files, but none is named")
    return TabularSource(config.files, mappings=config.mappings, instrument=config.instrument)
