"""The recorded market of one partition as the paper venue sees it, and what its own orders have taken from it.

What an order finds depends on the market and on orders *before it on the topic* alone: each taking is kept with both
offsets, so an order that is judged late finds exactly what it would have found in time.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from agents.risk.instruments import Instrument
from messages import Bar, Observation, Quote, Record, Trade
from messages.fields import Side

MarketMessage = Quote | Trade | Bar | Observation
_SLACK = 1e-9


class BarMatching(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a bar stands in for quotes: the share of its volume that was to be had, half the spread around its close."""

    volume_share: Annotated[float, Meta(gt=0, le=1)] = 0.1
    half_spread_ticks: Annotated[int, Meta(ge=0)] = 1


class Volume:
    """Volume on offer at one price, over consecutive quotes that show it, and what our orders have taken of it."""

    def __init__(self) -> None:
        self._takings: list[tuple[int, int, int]] = []

    def left(self, displayed_lots: int, order_offset: int, market_offset: int) -> int:
        """Return what an order still finds: less what orders before it took up to that market record."""
        taken = sum(lots for order, at, lots in self._takings if order < order_offset and at <= market_offset)
        own = sum(lots for order, at, lots in self._takings if order == order_offset and at <= market_offset)
        return max(0, displayed_lots - taken - own)

    def take(self, lots: int, order_offset: int, market_offset: int) -> None:
        """Note that an order took `lots` at a market record."""
        self._takings.append((order_offset, market_offset, lots))


class Touch(Struct, frozen=True):
    """One side of a quote."""

    ticks: int
    lots: int
    volume: Volume


class Event(Struct, frozen=True, kw_only=True):
    """One market record: `quote` is (bid, ask) when it can be dealt on, `trades` are prints that resting orders see."""

    instrument: str
    offset: int
    ts_recv: int
    record_ms: int
    bid: Touch | None = None
    ask: Touch | None = None
    trades: tuple["Print", ...] = ()


class Print(Struct, frozen=True):
    """Volume that traded; `aggressor` None: unknown."""

    ticks: int
    lots: int
    aggressor: Side | None
    volume: Volume


class Tape:
    """The last `capacity` market records of a partition, in order of offsets."""

    def __init__(self, instruments: Mapping[str, Instrument], bars: BarMatching, capacity: int) -> None:
        self._instruments, self._bars, self._capacity = instruments, bars, capacity
        self._events: list[Event] = []
        self._offsets: list[int] = []
        self._touches: dict[str, tuple[Touch, Touch]] = {}
        self.next_offset = 0
        self._dropped_to = 0

    def add(self, record: Record, message: MarketMessage) -> Event:
        """Take in a market record; offsets grow."""
        event = self._event(record, message)
        self._events.append(event)
        self._offsets.append(record.offset)
        self.next_offset = record.offset + 1
        if len(self._events) >= 2 * self._capacity:
            cut = len(self._events) - self._capacity
            self._dropped_to = self._offsets[cut]
            del self._events[:cut], self._offsets[:cut]
        return event

    def skip(self, offset: int) -> None:
        """Pass a record that holds nothing of use."""
        self.next_offset = offset + 1

    def start_at(self, offset: int) -> None:
        """Begin with this offset: nothing before it is remembered."""
        self.next_offset = self._dropped_to = offset

    def remembers(self, offset: int) -> bool:
        """Whether everything from this offset on is still here."""
        return offset >= self._dropped_to

    def at(self, offset: int) -> Event | None:
        """Return the event at an offset, or None."""
        index = bisect_right(self._offsets, offset) - 1
        return self._events[index] if index >= 0 and self._offsets[index] == offset else None

    def after(self, offset: int) -> Iterator[Event]:
        """Return the events past an offset, in order."""
        for index in range(bisect_right(self._offsets, offset), len(self._events)):
            yield self._events[index]

    def first_past_ms(self, record_ms: int) -> Event | None:
        """Return the first remembered event that the broker took in after `record_ms`, or None: not yet."""
        found: Event | None = None
        for event in reversed(self._events):
            if event.record_ms <= record_ms:
                break
            found = event
        return found

    def _event(self, record: Record, message: MarketMessage) -> Event:
        instrument = self._instruments[message.instrument]
        bid: Touch | None = None
        ask: Touch | None = None
        trades: tuple[Print, ...] = ()
        if isinstance(message, Quote):
            bid, ask = self._quote(message, instrument)
        elif isinstance(message, Trade):
            trades = _prints(instrument, message.size, (message.price,), message.aggressor)
        elif isinstance(message, Bar):
            trades = _prints(instrument, message.volume * self._bars.volume_share, (message.low, message.high), None)
            bid, ask = self._bar(message, instrument)
        return Event(
            instrument=message.instrument,
            offset=record.offset,
            ts_recv=message.ts_recv,
            record_ms=record.timestamp_ms,
            bid=bid,
            ask=ask,
            trades=trades,
        )

    def _quote(self, quote: Quote, instrument: Instrument) -> tuple[Touch | None, Touch | None]:
        bid, ask = instrument.ticks(quote.bid), instrument.ticks(quote.ask)
        # Nobody can deal on a crossed or empty quote as it stands: the next good one counts.
        if bid is None or ask is None or not 0 < bid <= ask:
            return None, None
        before = self._touches.get(quote.instrument)
        touches = (
            _touch(bid, _whole_lots(quote.bid_size, instrument), before and before[0]),
            _touch(ask, _whole_lots(quote.ask_size, instrument), before and before[1]),
        )
        self._touches[quote.instrument] = touches
        return touches

    def _bar(self, bar: Bar, instrument: Instrument) -> tuple[Touch | None, Touch | None]:
        close = instrument.ticks(bar.close)
        if close is None or close <= self._bars.half_spread_ticks:
            return None, None
        lots = _whole_lots(bar.volume * self._bars.volume_share, instrument)
        return (
            Touch(close - self._bars.half_spread_ticks, lots, Volume()),
            Touch(close + self._bars.half_spread_ticks, lots, Volume()),
        )


def _touch(ticks: int, lots: int, before: Touch | None) -> Touch:
    """Return a side of the book; while its price stands, what we took from it stays taken."""
    return Touch(ticks, lots, before.volume if before is not None and before.ticks == ticks else Volume())


def _prints(
    instrument: Instrument, size: float, prices: tuple[float, ...], aggressor: Side | None
) -> tuple[Print, ...]:
    lots = _whole_lots(size, instrument)
    on_grid = [ticks for price in prices if (ticks := instrument.ticks(price)) is not None]
    # One volume for all prints of a record: a bar's low and high are not traded twice.
    volume = Volume()
    return tuple(Print(ticks, lots, aggressor, volume) for ticks in dict.fromkeys(on_grid)) if lots > 0 else ()


def _whole_lots(size: float, instrument: Instrument) -> int:
    return int(size / instrument.quantity_step * (1 + _SLACK))
