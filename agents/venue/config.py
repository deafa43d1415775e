"""The paper venue's settings."""

from typing import Annotated

from msgspec import Meta, Struct

from agents.venue.tape import BarMatching

MAX_LATENCY_NS = 60_000_000_000
_LatencyNs = Annotated[int, Meta(ge=0, le=MAX_LATENCY_NS)]


class VenueConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the paper venue behaves.

    `latency_ns`: from the market record that an order was decided on to its arrival, constant. Instead of it,
    `latency_file` (one recorded latency in ns a line) or `latency_quantiles_ns` (rising, equally far apart in
    probability) is a distribution: each order draws its own, by its id and `latency_seed`. `trade_lag_ns`: so long
    after the quote that shows what it left a trade may be received. `remembered_records`: market records of a
    partition against which late orders can still be judged. `max_order_age_ms`: between `ts_decided` and the order's
    record. `batch_records`: most records read in one go.
    """

    latency_ns: _LatencyNs = 5_000_000
    latency_quantiles_ns: Annotated[tuple[_LatencyNs, ...], Meta(max_length=10_001)] = ()
    latency_file: str = ""
    latency_seed: int = 0
    trade_lag_ns: _LatencyNs = 10_000_000
    remembered_records: Annotated[int, Meta(ge=64)] = 16_384
    finished_orders: Annotated[int, Meta(ge=1)] = 4_096
    max_order_age_ms: Annotated[int, Meta(ge=1)] = 5_000
    batch_records: Annotated[int, Meta(ge=1)] = 512
    heartbeat_interval_ms: Annotated[int, Meta(gt=0)] = 1_000
    bars: BarMatching = BarMatching()
