"""The adapter's settings."""

from typing import Annotated

from msgspec import Meta, Struct

_Seconds = Annotated[float, Meta(gt=0)]


class AdapterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an adapter behaves.

    `max_order_age_ms`: from `ts_decided` to the submission, by this machine's clock. `venue_timeout_s` bounds each call
    of the venue, `ask_again_s` is the pause between questions about what is in doubt. `arrives_within_ms`: so long
    after a lost answer an order may still reach the venue (more than `venue_timeout_s`); then it is refused.
    `look_back_hours`: how far back a start reads `orders` and `reports`; no order may be open for longer.
    `queued_orders`: most that wait for the venue in each partition; what is over is refused. `finished_orders`: kept to
    answer late cancels.
    """

    max_order_age_ms: Annotated[int, Meta(ge=1)] = 5_000
    venue_timeout_s: _Seconds = 2.0
    ask_again_s: _Seconds = 0.5
    arrives_within_ms: Annotated[int, Meta(ge=1)] = 5_000
    look_back_hours: Annotated[int, Meta(ge=1)] = 24
    queued_orders: Annotated[int, Meta(ge=1)] = 1_000
    finished_orders: Annotated[int, Meta(ge=1)] = 10_000
    heartbeat_interval_ms: Annotated[int, Meta(gt=0)] = 1_000
