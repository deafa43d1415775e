"""The paper venue's settings."""

from typing import Annotated

from msgspec import Meta, Struct

from agents.venue.tape import BarMatching


class VenueConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the paper venue behaves.

    `latency_ns`: from the market record that an order was decided on to its arrival. `remembered_records`: market
    records of a partition against which late orders can still be judged. `max_order_age_ms`: between `ts_decided` and
    the order's record. `batch_records`: most records read in one go.
    """

    latency_ns: Annotated[int, Meta(ge=0, le=60_000_000_000)] = 5_000_000
    remembered_records: Annotated[int, Meta(ge=64)] = 16_384
    finished_orders: Annotated[int, Meta(ge=1)] = 4_096
    max_order_age_ms: Annotated[int, Meta(ge=1)] = 5_000
    batch_records: Annotated[int, Meta(ge=1)] = 512
    heartbeat_interval_ms: Annotated[int, Meta(gt=0)] = 1_000
    bars: BarMatching = BarMatching()
