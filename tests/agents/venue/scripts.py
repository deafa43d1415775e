"""Random markets and orders for the properties of the paper venue, and a venue that lags and dies."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from agents.venue.answered import Answered
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from agents.venue.latency import latency_of
from messages import Bar, Cancel, Claim, ExecutionReport, Observation, Order, encode
from messages.market import MarketMessage
from messages.orders import Source
from tests.agents.venue.market import INSTRUMENTS, MS, Ordered, Ticked, cancel, order, quote, record, trade


class Script(Struct, frozen=True, kw_only=True):
    """A market, the orders of one owner, and how the venue is set."""

    market: Sequence[Ticked]
    orders: Sequence[Ordered]
    config: VenueConfig

    @property
    def sent(self) -> dict[str, Order]:
        """The orders by their ids."""
        return {message.order_id: message for _, message in self.orders if isinstance(message, Order)}

    def due(self, record_ms: int) -> int:
        """How many order records have to be read before a market record of that time: as far as its cancels go."""
        latency = latency_of(self.config)
        due = 0
        for index, (order_record, message) in enumerate(self.orders):
            if isinstance(message, Cancel):
                past_ms = order_record.timestamp_ms + latency.of(message.cancel_id) / MS
                due = index + 1 if past_ms < record_ms else due
        return due


def _message(rng: random.Random, ts_ms: int) -> MarketMessage:
    name = rng.choice(("BTC", "BTC", "BTC", "ETH", "XRP"))
    match rng.choice(("quote", "quote", "quote", "trade", "trade", "bar", "observation")):
        case "quote":
            bid = rng.randint(97, 102) if rng.random() < 0.9 else rng.choice((0, -3, 98.4))
            sizes = {"bid_size": rng.randint(0, 6), "ask_size": rng.randint(0, 6)}
            return quote(ts_ms, bid=bid, ask=bid + rng.randint(-1, 3), instrument=name, **sizes)
        case "trade":
            aggressor = rng.choice(("buy", "sell", None))
            return trade(ts_ms, rng.randint(97, 103), rng.randint(1, 8), aggressor=aggressor, instrument=name)
        case "bar":
            low, high = sorted((rng.randint(97, 103), rng.randint(97, 103)))
            close, at_ns = rng.randint(low, high), ts_ms * MS
            volume = rng.randint(0, 90)
            return Bar(instrument=name, ts_recv=at_ns, open=close, high=high, low=low, close=close, volume=volume)
        case _:
            return Observation(instrument=name, ts_recv=ts_ms * MS, values=(1.0,))


def random_market(rng: random.Random) -> list[Ticked]:
    """Locked, crossed, empty and off-grid quotes, trades, bars; gaps in the offsets, clocks that go back."""
    market: list[Ticked] = []
    offset = record_ms = 0
    for _ in range(rng.randint(5, 30)):
        record_ms += rng.randint(0, 4)
        message = _message(rng, max(0, record_ms - rng.choice((0, 0, 0, 0, 3, 9))))
        market.append((record("market", offset, record_ms), message))
        offset += rng.choice((1, 1, 1, 1, 1, 1, 3))
    return market


def random_script(seed: int, *, forces: Sequence[str] = ("IOC", "FOK", "GTC", "GTX")) -> Script:
    """Sources never go back; records come when they are sent, some of them long after their source."""
    rng = random.Random(seed)
    market = random_market(rng)
    sources = sorted(rng.choices(range(len(market)), k=rng.randint(1, 10)))
    orders: list[Ordered] = [(record("orders", 0, 0), Claim(owner="e"))]
    sent_ms = 0
    for seq, index in enumerate(sources):
        source, message = market[index]
        sent_ms = max(sent_ms, source.timestamp_ms) + rng.choice((0, 0, 0, 1, 6, 30))
        earlier = [m.order_id for _, m in orders if isinstance(m, Order)]
        if earlier and rng.random() < 0.25:
            orders.append((record("orders", seq + 1, sent_ms), cancel(seq, rng.choice(earlier))))
            continue
        changes: dict[str, Any] = {
            "instrument": message.instrument if rng.random() < 0.9 else "BTC",
            "side": rng.choice(("buy", "sell")),
            "quantity": float(rng.randint(1, 9)),
            "time_in_force": rng.choice(forces),
            "reduce_only": rng.random() < 0.25,
            "source": Source(topic="market", partition=0, offset=source.offset),
            "ts_decided": sent_ms * MS,
        }
        if changes["time_in_force"] in {"GTC", "GTX"} or rng.random() < 0.5:
            changes["limit_price"] = float(rng.randint(97, 103))
        orders.append((record("orders", seq + 1, sent_ms), order(seq, source.offset, **changes)))
    config = VenueConfig(
        latency_ns=rng.choice((0, 2 * MS, 5 * MS)),
        latency_quantiles_ns=rng.choice(((), (), (0, 9 * MS), (MS, 2 * MS, 20 * MS))),
        latency_seed=rng.randint(0, 3),
        trade_lag_ns=rng.choice((0, 3 * MS)),
    )
    return Script(market=market, orders=orders, config=config)


def by_order(reports: Iterable[ExecutionReport]) -> dict[str, list[bytes]]:
    """The bytes of each order's reports, in order."""
    grouped: dict[str, list[bytes]] = defaultdict(list)
    for report in reports:
        grouped[report.order_id].append(encode(report))
    return dict(grouped)


class Venue:
    """A book that is fed step by step, what it has published, and its death at any point of that."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.published: list[ExecutionReport] = []
        self._begin()

    def _begin(self) -> None:
        self._book = PaperBook(0, self._script.config, INSTRUMENTS)
        self._answered = Answered()
        self.orders_read = self.market_read = 0

    def read_orders(self, to: int) -> Iterator[ExecutionReport]:
        """Read order records up to the `to`-th; yield what is to be published."""
        entries, self.orders_read = self._script.orders[self.orders_read : to], max(to, self.orders_read)
        yield from self._due(self._book.orders(entries))

    def read_market(self) -> Iterator[ExecutionReport]:
        """Read the next market record."""
        entry = self._script.market[self.market_read]
        self.market_read += 1
        yield from self._due(self._book.market(*entry))

    def publish(self, due: Iterable[ExecutionReport], most: int = 1_000_000) -> None:
        """Publish; at most so many before it dies."""
        self.published += list(due)[:most]

    def restart(self) -> None:
        """Begin anew as the agent does: what was published is known, what was ordered is read, then the market."""
        orders_read = self.orders_read
        self._begin()
        for report in self.published:
            self._answered.note(report)
        self._book.recall(self.published)
        self.publish(self.read_orders(orders_read))

    def _due(self, derived: Iterable[ExecutionReport]) -> Iterator[ExecutionReport]:
        for report in derived:
            if (due := self._answered.to_publish(report)) is not None:
                yield due
