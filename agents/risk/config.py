"""The Risk agent's settings; the limits are a file of their own."""

from typing import Annotated

from msgspec import Meta, Struct


class ShareConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How shares of the portfolio's exposure limits move between shards.

    `interval_ms`: one move at most in this time; each is a record on `control`, which is kept for ever. `silent_ms`: a
    shard that was not heard for so long is not asked to give.
    """

    interval_ms: Annotated[int, Meta(ge=100)] = 5_000
    silent_ms: Annotated[int, Meta(ge=100)] = 5_000


class RiskConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the Risk agent runs.

    `snapshot_interval_ms`: a snapshot at most so often, when something changed. `market_interval_ms`: marks are
    taken so often, from the newest record of each instrument; limits are looked at each time. `market_tail_records`:
    market records of a partition that are read at start for marks, besides all since the last snapshot.
    `batch_records`: most records read in one go. `checkpoint_interval_ms`: the books are written so often, when they
    changed, so that a restart reads only what came after. `alert_hold_ms`: a figure that was back inside its limit for
    so long passes it anew.
    """

    snapshot_interval_ms: Annotated[int, Meta(ge=10)] = 1_000
    market_interval_ms: Annotated[int, Meta(ge=0)] = 50
    market_tail_records: Annotated[int, Meta(ge=1)] = 4_096
    batch_records: Annotated[int, Meta(ge=1)] = 1_024
    checkpoint_interval_ms: Annotated[int, Meta(ge=10)] = 60_000
    alert_hold_ms: Annotated[int, Meta(ge=0)] = 10_000
    heartbeat_interval_ms: Annotated[int, Meta(gt=0)] = 1_000
    shares: ShareConfig = ShareConfig()
