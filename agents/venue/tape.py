"""The recorded market of one partition as the paper venue sees it, and what its own orders have taken from it."""

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


class Volume(Struct, gc=False):
    """What our orders have taken of the volume on offer at one price, over consecutive quotes that show it."""

    taken_lots: int = 0

    def left(self, displayed_lots: int) -> int:
        """Return what is still to be found.

        It needs no times: who comes before on `orders` is asked first, and takes all he can before another finds any.
        """
        return max(0, displayed_lots - self.taken_lots)


class Touch(Struct, frozen=True, gc=False):
    """One side of a quote."""

    ticks: int
    lots: int
    volume: Volume


class Print(Struct, frozen=True, gc=False):
    """Volume that traded; `aggressor` None: unknown."""

    ticks: int
    lots: int
    aggressor: Side | None
    volume: Volume


class Event(Struct, frozen=True, gc=False):
    """One market record: `bid` and `ask` when it can be dealt on, `trades` are prints that resting orders see."""

    instrument: str
    offset: int
    ts_recv: int
    record_ms: int
    bid: Touch | None = None
    ask: Touch | None = None
    trades: tuple[Print, ...] = ()


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
        name, offset, ts_recv, record_ms = message.instrument, record.offset, message.ts_recv, record.timestamp_ms
        if isinstance(message, Quote):
            bid, ask = self._quote(message)
            return Event(name, offset, ts_recv, record_ms, bid, ask)
        instrument = self._instruments[name]
        if isinstance(message, Trade):
            ticks, lots = instrument.ticks(message.price), _whole_lots(message.size, instrument)
            prints = () if ticks is None or lots <= 0 else (Print(ticks, lots, message.aggressor, Volume()),)
            return Event(name, offset, ts_recv, record_ms, trades=prints)
        # A bar tells again what quotes have told, and its spread is made up.
        if isinstance(message, Bar) and name not in self._touches:
            return self._bar(record, message, instrument)
        return Event(name, offset, ts_recv, record_ms)

    def _quote(self, quote: Quote) -> tuple[Touch | None, Touch | None]:
        name = quote.instrument
        instrument = self._instruments[name]
        bid, ask = instrument.ticks(quote.bid), instrument.ticks(quote.ask)
        # Nobody can deal on a crossed or empty quote as it stands: the next good one counts.
        if bid is None or ask is None or not 0 < bid <= ask:
            return None, None
        bid_lots, ask_lots = _whole_lots(quote.bid_size, instrument), _whole_lots(quote.ask_size, instrument)
        # While a price stands, what we took from it stays taken.
        if (before := self._touches.get(name)) is None:
            touches = Touch(bid, bid_lots, Volume()), Touch(ask, ask_lots, Volume())
        else:
            old_bid, old_ask = before
            touches = (
                Touch(bid, bid_lots, old_bid.volume if old_bid.ticks == bid else Volume()),
                Touch(ask, ask_lots, old_ask.volume if old_ask.ticks == ask else Volume()),
            )
        self._touches[name] = touches
        return touches

    def _bar(self, record: Record, bar: Bar, instrument: Instrument) -> Event:
        bid: Touch | None = None
        ask: Touch | None = None
        prints: tuple[Print, ...] = ()
        close, half_spread = instrument.ticks(bar.close), self._bars.half_spread_ticks
        lots = _whole_lots(bar.volume * self._bars.volume_share, instrument)
        if bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high:
            volume = Volume()  # one for all of the bar: nothing of it trades twice
            if close is not None and close > half_spread:
                bid, ask = Touch(close - half_spread, lots, volume), Touch(close + half_spread, lots, volume)
            if lots > 0:
                reached = [ticks for price in (bar.low, bar.high) if (ticks := instrument.ticks(price)) is not None]
                prints = tuple(Print(ticks, lots, None, volume) for ticks in dict.fromkeys(reached))
        return Event(bar.instrument, record.offset, bar.ts_recv, record.timestamp_ms, bid, ask, prints)


def _whole_lots(size: float, instrument: Instrument) -> int:
    return int(size / instrument.quantity_step * (1 + _SLACK))
