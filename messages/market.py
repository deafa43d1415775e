"""Topic `market`: what happened on the venues. Key = instrument. Written by feeders."""

from typing import Annotated

from msgspec import Meta, Struct

from messages.fields import Name, Nanoseconds, PositivePrice, PositiveSize, Price, Sequence, Side, Size


class Quote(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Best bid and ask. Written by feeders; read by execution, risk, venue, trainer.

    Prices in the quote currency, sizes in units of the instrument. `ts_recv` is the feeder's clock (ns) and the time
    basis of everything; `ts_event` the venue's (ns). Zero, locked and crossed quotes may travel: readers must cope.
    """

    instrument: Name
    ts_recv: Nanoseconds
    bid: Price
    bid_size: Size
    ask: Price
    ask_size: Size
    ts_event: Nanoseconds | None = None
    seq: Sequence | None = None


class Trade(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """One public trade. Written by feeders; read by execution, risk, venue, trainer.

    `price` in the quote currency, `size` in units of the instrument, times in ns. `aggressor` is the side of the order
    that took liquidity.
    """

    instrument: Name
    ts_recv: Nanoseconds
    price: PositivePrice
    size: PositiveSize
    ts_event: Nanoseconds | None = None
    aggressor: Side | None = None
    trade_id: Annotated[str, Meta(max_length=128)] | None = None


class Bar(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Open, high, low, close, volume of one interval, published at its close (`ts_recv`, ns).

    Written by feeders; read by execution, risk, venue, trainer. Prices in the quote currency, `volume` in units of the
    instrument.
    """

    instrument: Name
    ts_recv: Nanoseconds
    open: PositivePrice
    high: PositivePrice
    low: PositivePrice
    close: PositivePrice
    volume: Size


class Observation(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A ready-made observation vector for bundles that take observations as they come.

    Written by feeders; read by execution, trainer. `values` has the bundle's obs_shape, flattened.
    """

    instrument: Name
    ts_recv: Nanoseconds
    values: Annotated[
        tuple[float, ...], Meta(min_length=1, max_length=65536, description="in the units of its features")
    ]


MarketMessage = Quote | Trade | Bar | Observation
