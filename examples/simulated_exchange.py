"""A small exchange that speaks JSON lines over TCP, to try examples/venue_adapter.py on.

    python examples/simulated_exchange.py --port 7497 --quote BTCUSDT:65000:65001:10

It stands for a venue: one account, one price level a side, orders that outlive connections. Like some venues it does
not look whether an order id was there before: whoever submits twice trades twice.
"""

# ruff: noqa: T201 - a program that tells what it does

import argparse
import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

OPEN = ("new", "partially_filled")
TAKER_FEE, MAKER_FEE = 0.0005, 0.0001


class Refusal(Exception):  # noqa: N818 - an answer of the exchange
    """Raised when the exchange says no."""


class Resting:
    """An order and what became of it."""

    def __init__(self, terms: dict[str, Any]) -> None:
        self.terms = terms
        self.status, self.filled, self.value, self.fee = "new", 0.0, 0.0, 0.0
        self.liquidity: str | None = None
        self.reason: str | None = None
        self.is_buy = terms["side"] == "buy"

    @property
    def left(self) -> float:
        return float(round(self.terms["quantity"] - self.filled, 12))

    def reaches(self, price: float) -> bool:
        limit = self.terms.get("limit_price")
        return limit is None or (price <= limit if self.is_buy else price >= limit)

    def fill(self, quantity: float, price: float, *, is_maker: bool) -> None:
        self.filled = round(self.filled + quantity, 12)
        self.value += quantity * price
        self.fee += quantity * price * (MAKER_FEE if is_maker else TAKER_FEE)
        self.liquidity = "maker" if is_maker else "taker"
        self.status = "partially_filled" if self.left > 0 else "filled"

    def end(self, status: str, reason: str | None = None) -> None:
        self.status, self.reason = status, reason

    def shown(self) -> dict[str, Any]:
        """Return the order as it is told: all of it."""
        kept = ("status", "filled", "value", "fee", "liquidity", "reason")
        return {
            "order_id": self.terms["order_id"],
            "ts": time.time_ns(),
            **{name: getattr(self, name) for name in kept},
        }


class Exchange:
    """Prices, orders, positions. `tell` hears of every order that changes."""

    def __init__(self, tell: Callable[[Resting], None]) -> None:
        self._tell = tell
        self.quotes: dict[str, tuple[float, float, float]] = {}
        self._left: dict[tuple[str, bool], float] = {}  # to be had by buys, by sells
        self.orders: dict[str, Resting] = {}
        self.positions: defaultdict[str, float] = defaultdict(float)
        self.submissions: Counter[str] = Counter()
        self._all: list[Resting] = []

    def quote(self, instrument: str, bid: float, ask: float, size: float) -> None:
        """Show a market; resting orders that it reaches are filled, at their own price."""
        if self.quotes.get(instrument) != (bid, ask, size):  # what was taken stays taken while a quote stands
            self.quotes[instrument] = bid, ask, size
            self._left[instrument, True] = self._left[instrument, False] = size
        for order in self._all:
            is_open = order.status in OPEN and order.terms["instrument"] == instrument
            if is_open and order.reaches(ask if order.is_buy else bid):
                self._fill(order, order.terms["limit_price"], is_maker=True)
        self._all = [order for order in self._all if order.status in OPEN]

    def submit(self, terms: dict[str, Any]) -> None:
        """Take an order: it deals with the market at once, ends, or rests."""
        if terms["instrument"] not in self.quotes:
            raise Refusal(f"{terms['instrument']} is not traded here")
        order = Resting(terms)
        self._refuse_increase(order)
        self.submissions[terms["order_id"]] += 1
        self.orders[terms["order_id"]] = order
        self._all.append(order)
        bid, ask, _ = self.quotes[terms["instrument"]]
        price, force = ask if order.is_buy else bid, terms["time_in_force"]
        if force == "GTX" and order.reaches(price):
            order.end("rejected", "post-only order would take")
        elif force == "FOK" and not (order.reaches(price) and self._to_be_had(order) >= order.left):
            order.end("expired", "not all of it was to be had")
        elif order.reaches(price):
            self._fill(order, price, is_maker=False)
        if order.status in OPEN and (force in {"IOC", "FOK"} or terms["order_type"] == "market"):
            order.end("expired", "no more to be had at once")
        self._tell(order)

    def cancel(self, order_id: str) -> None:
        order = self.orders.get(order_id)
        if order is None or order.status not in OPEN:
            raise Refusal("there is no such order" if order is None else f"the order is {order.status}")
        order.end("canceled")
        self._tell(order)

    def _fill(self, order: Resting, price: float, *, is_maker: bool) -> None:
        quantity = min(order.left, self._to_be_had(order))
        if quantity > 0:
            order.fill(quantity, price, is_maker=is_maker)
            self._left[order.terms["instrument"], order.is_buy] -= quantity
            self.positions[order.terms["instrument"]] += quantity if order.is_buy else -quantity
            if is_maker:
                self._tell(order)

    def _to_be_had(self, order: Resting) -> float:
        name, position = order.terms["instrument"], self.positions[order.terms["instrument"]]
        left = self._left[name, order.is_buy]
        return min(left, max(0.0, -position if order.is_buy else position)) if order.terms["reduce_only"] else left

    def _refuse_increase(self, order: Resting) -> None:
        position = self.positions[order.terms["instrument"]]
        if order.terms["reduce_only"] and (position >= 0 if order.is_buy else position <= 0):
            raise Refusal(f"reduce-only, and the position is {position:g}")


class ExchangeServer:
    """The exchange behind a socket. `is_mute`: it hears and does, but nobody gets an answer."""

    def __init__(self) -> None:
        self.exchange = Exchange(self._tell)
        self.is_mute = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None] | None] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self.drop_connections()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        await asyncio.gather(*(connection for connection in self._connections if connection is not None))

    def drop_connections(self) -> None:
        """Close every connection, as a failing network does."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._connections.add(connection := asyncio.current_task())
        try:
            while line := await reader.readline():
                self._write(writer, self._answer(msgspec.json.decode(line)))
                await writer.drain()
        except ConnectionError:
            pass  # the client is gone; it comes again and asks
        finally:
            self._writers.discard(writer)
            self._connections.discard(connection)
            writer.close()

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {"call": asked["call"]}
        try:
            if asked["do"] == "submit":
                self.exchange.submit(asked)
            elif asked["do"] == "cancel":
                self.exchange.cancel(asked["order_id"])
            elif (order := self.exchange.orders.get(asked["order_id"])) is not None:
                answer["order"] = order.shown()
        except Refusal as refusal:
            answer["refused"] = str(refusal)
        return answer

    def _tell(self, order: Resting) -> None:
        for writer in self._writers:
            self._write(writer, {"order": order.shown()})

    def _write(self, writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        if not self.is_mute and not writer.is_closing():
            writer.write(msgspec.json.encode(message) + b"\n")


async def main(port: int, quotes: list[str]) -> None:
    server = ExchangeServer()
    print(f"listening on port {await server.start(port=port)}", flush=True)
    for turn in itertools.count():
        for quote in quotes:
            name, bid, ask, size = quote.rsplit(":", 3)
            shift = (turn % 7 - 3) * (float(ask) - float(bid)) / 2  # a market that goes up and down
            server.exchange.quote(name, float(bid) + shift, float(ask) + shift, float(size))
        await asyncio.sleep(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A simulated exchange.")
    parser.add_argument("--port", type=int, default=7497)
    parser.add_argument("--quote", action="append", required=True, help="INSTRUMENT:BID:ASK:SIZE; may be repeated")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.port, arguments.quote))
