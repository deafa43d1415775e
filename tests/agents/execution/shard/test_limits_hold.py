"""Through the whole shard: a policy that wants anything, a venue that does anything, and still no limit is exceeded.

The books here are kept by hand, from the orders and the reports alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, combinations
from random import Random
from typing import Any

import pytest

from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import ServingBundle, ShardConfig
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits as LimitsFile
from bundles.actions import ActionMapping
from bundles.features import Floats32, Observer
from messages import Cancel, ExecutionReport, LogStarted, Order, Quote, Record, ReportStatus, Step
from messages.control import ControlMessage, Flatten, Halt, HaltLevel, Limits, Resume
from messages.decisions import BundleActivated, ControlApplied, RiskAlive, StepInput
from messages.reports import OrderPosition
from tests.builders import ONE_FEATURE, SECOND, START_NS, record

STEPS = 1_500
SIZE, PRICE, MOST_LOTS = 1.0, 100.0, 10
LIMITS = {
    "max_position": MOST_LOTS * SIZE,
    "max_order_quantity": 8.0,
    "max_gross_exposure": 1_200.0,
    "max_net_exposure": 1_000.0,
    "max_open_orders": 3,
    "max_messages_per_s": 8,
    "duplicate_window_ms": 20,
    "max_repeated_executions": 40,
    "repeated_execution_window_ms": 5_000,
    "price_collar_bps": 500.0,
}
NAMES = ("X", "Y")
INSTRUMENTS = {name: Instrument(instrument=name, price_step=0.5, quantity_step=SIZE) for name in NAMES}
LEVELS: tuple[HaltLevel, ...] = ("halted", "reducing")
DIGESTS = ("a" * 64, "b" * 64)


class Whims:
    """A policy without any sense."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice

    def act(self, observation: Floats32) -> tuple[float, ...]:
        return (float("nan") if self._dice.random() < 0.01 else self._dice.uniform(-1.2, 1.2),)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


@dataclass
class Open:
    """An order at the venue: signed lots that may still fill, and what its reports have told."""

    order: Order
    offset: int
    left: int
    filled: int = 0
    seq: int = 0
    is_cancel_asked: bool = False


@dataclass
class Books:
    """What one instrument has, kept by hand. `excused`: reachable since something from outside moved it."""

    position: int = 0
    mid: float = PRICE
    open: dict[str, Open] = field(default_factory=dict)
    excused: tuple[int, int] = (0, 0)

    def reachable(self) -> set[int]:
        lots = [opened.left for opened in self.open.values()]
        some = chain.from_iterable(combinations(lots, size) for size in range(len(lots) + 1))
        return {self.position + sum(filled) for filled in some}

    def excuse(self) -> None:
        self.excused = min(self.reachable()), max(self.reachable())


class World:
    """A shard, a venue and a person, all by the same dice."""

    def __init__(self, seed: int, *, conflate: bool, **actions: Any) -> None:
        self.dice = Random(seed)
        bundles = [
            self._bundle(digest, limits, actions)
            for digest, limits in zip(DIGESTS, ({}, {"max_position": 6.0}), strict=True)
        ]
        self._config = ShardConfig(
            partition=0,
            instruments=INSTRUMENTS,
            strategies=dict.fromkeys(NAMES, "s"),
            decisions=DecisionConfig(conflate=conflate, order_timeout_ms=2_000, max_policy_errors=2),
        )
        self._bundles = {bundle.sha256: bundle for bundle in bundles}
        self._conflate = conflate
        self.shard = self._new_shard()
        self.books = {name: Books() for name in NAMES}
        self.clock_ns, self.control_to, self.orders_to, self.version = START_NS, 0, 0, 0
        self.halts: dict[int, Halt] = {}
        self.alive, self.flattening = True, False
        self.most = MOST_LOTS
        self.messages: list[int] = []  # of the last second
        self.finished: list[Open] = []
        self.passed = 0
        self.records: list[Record] = []
        self.step(
            [],
            self.said(LogStarted(log_id="L")),
            RiskAlive(alive=True),
            *(self.activate(name, DIGESTS[0]) for name in NAMES),
        )

    def _bundle(self, digest: str, limits: dict[str, float], actions: dict[str, Any]) -> ServingBundle:
        mapping: dict[str, Any] = {"kind": "continuous", "max_position": 14.0, "max_change": 8.0} | actions
        return ServingBundle(
            strategy="s",
            bundle_id=digest[:4],
            sha256=digest,
            policy=Whims(self.dice),
            observer=Observer(ONE_FEATURE),
            actions=ActionMapping(**mapping),
            limits=limits,
        )

    def _new_shard(self) -> Shard:
        return Shard(self._config, limits=LimitsFile.convert({"defaults": LIMITS}), bundles=self._bundles, partitions=1)

    def said(self, message: ControlMessage) -> ControlApplied:
        self.control_to += 1
        return ControlApplied(offset=self.control_to - 1, message=message)

    def activate(self, name: str, digest: str) -> BundleActivated:
        self.control_to += 1
        return BundleActivated(
            offset=self.control_to - 1, strategy="s", instrument=name, bundle_id=digest[:4], sha256=digest
        )

    def restart(self) -> None:
        """Another process takes over from the checkpoint."""
        checkpoint = checkpoint_of(self.shard)
        self.shard = self._new_shard()
        self.shard.restore(checkpoint)
        self.shard.refill(self.records[checkpoint.ring_from :])

    def step(self, quotes: list[Quote], *inputs: StepInput, reports: tuple[ExecutionReport, ...] = ()) -> None:
        first, read = self.shard.market_to, self.shard.reports_to
        market = [record(q, first + at, key=q.instrument.encode(), at_ns=self.clock_ns) for at, q in enumerate(quotes)]
        self.records += market
        told = [record(r, read + at, topic="reports", key=r.instrument.encode()) for at, r in enumerate(reports)]
        step = Step(
            n=self.shard.n,
            market_from=first,
            market_to=first + len(market),
            clock_ns=self.clock_ns,
            reports_to=read + len(told),
            inputs=inputs,
        )
        logged = self.shard.step(step, market, told)
        for quote in quotes:
            self.books[quote.instrument].mid = (quote.bid + quote.ask) / 2
        for message in logged.orders:
            self.messages = [ts for ts in [*self.messages, self.clock_ns] if self.clock_ns - ts < SECOND]
            if isinstance(message, Cancel):
                if (opened := self.books[message.instrument].open.get(message.order_id)) is not None:
                    opened.is_cancel_asked = True
            else:
                self.check(message)

    def check(self, order: Order) -> None:
        """What must hold of an order that has been sent, with everything in flight filled for the worst."""
        books, sign = self.books[order.instrument], 1 if order.side == "buy" else -1
        lots, before = sign * round(order.quantity / SIZE), books.position
        worst_before = max(map(abs, books.reachable()))
        own = sum(opened.left for opened in books.open.values() if opened.left * sign > 0)
        exits = before * sign < 0 and before * (before + own + lots) >= 0
        opened = Open(order, self.orders_to, lots)
        self.orders_to += 1
        books.open[order.order_id] = opened
        reachable = books.reachable()
        assert abs(lots) <= LIMITS["max_order_quantity"] / SIZE
        assert len(books.open) <= LIMITS["max_open_orders"]
        assert len(self.messages) <= LIMITS["max_messages_per_s"]
        low, high = books.excused
        assert min(low, -self.most) <= min(reachable)
        assert max(reachable) <= max(high, self.most)
        if exits:
            assert max(map(abs, reachable)) <= worst_before
        else:
            self.check_exposure(sign)
        filled = before + sum(each.left for each in books.open.values())
        if self.level(order.instrument) != "active":
            assert exits
            assert abs(filled) <= abs(before)
            assert self.level(order.instrument) == "reducing" or (self.flattening and order.reduce_only)
        self.passed += 1

    def check_exposure(self, sign: int) -> None:
        worths = [[lots * SIZE * each.mid for lots in each.reachable()] for each in self.books.values()]
        assert sum(max(map(abs, worth)) for worth in worths) <= LIMITS["max_gross_exposure"]
        assert sum(max(sign * each for each in worth) for worth in worths) <= LIMITS["max_net_exposure"]

    def level(self, name: str) -> str:
        scopes = {"portfolio", "strategy:s", f"instrument:{name}"}
        levels = {halt.level for halt in self.halts.values() if halt.scope in scopes}
        if "halted" in levels:
            return "halted"
        return "reducing" if levels or not self.alive else "active"

    def halt(self, scope: str, level: HaltLevel) -> ControlApplied:
        halt = Halt(scope=scope, level=level, writer=f"w{self.control_to}", reason="t", ts=0)
        self.halts[self.control_to] = halt
        return self.said(halt)

    def person(self) -> Iterator[StepInput]:
        """Risk halts what has sent too much, and rarely somebody does something."""
        yield from (self.halt(f"instrument:{name}", "halted") for name in self.shard.throttled)
        if not self.alive and self.dice.random() < 0.1:
            self.alive = True
            yield RiskAlive(alive=True)
        if self.flattening and self.dice.random() < 0.1:
            self.flattening = False
            yield self.said(Flatten(scope="portfolio", on=False, who="me", reason="t", ts=0))
        match self.dice.choices(range(7), weights=(160, 3, 20, 3, 3, 4, 3))[0]:
            case 1:
                yield self.halt(self.dice.choice(("portfolio", "strategy:s", "instrument:Y")), self.dice.choice(LEVELS))
            case 2:
                cleared = tuple(offset for offset in self.halts if self.dice.random() < 0.9)
                yield self.said(Resume(scope="portfolio", clears=cleared, who="me", reason="t", ts=0))
                self.halts = {offset: halt for offset, halt in self.halts.items() if offset not in cleared}
            case 3:
                self.flattening = True
                yield self.said(Flatten(scope="portfolio", on=True, who="me", reason="t", ts=0))
            case 4:
                self.most = self.dice.choice((MOST_LOTS, 4, 7))
                self.version += 1
                changes = {"defaults.max_position": self.most * SIZE}
                yield self.said(Limits(version=self.version, changes=changes, who="me", reason="t", ts=0))
                for books in self.books.values():
                    books.excuse()
            case 5:
                yield self.activate(self.dice.choice(NAMES), self.dice.choice(DIGESTS))
            case 6:
                self.alive = False
                yield RiskAlive(alive=False)

    def venue(self) -> Iterator[ExecutionReport]:
        """Answers: in part, late, twice, after a cancel; sometimes of an order that was over."""
        for books in self.books.values():
            for opened in list(books.open.values()):
                yield from self.answer(books, opened)
        if self.finished and self.dice.random() < 0.01:
            opened = self.dice.choice(self.finished)
            books = self.books[opened.order.instrument]
            part = 1 if opened.order.side == "buy" else -1
            books.position += part
            opened.filled += abs(part)
            books.excuse()
            yield self.report(opened, ReportStatus.FILLED)

    def answer(self, books: Books, opened: Open) -> Iterator[ExecutionReport]:
        sign = 1 if opened.order.side == "buy" else -1
        kinds = ("silent", "new", "part", "all", "over", "too much")
        match (
            self.dice.choices(kinds, weights=(80, 10, 30, 30, 20, 6))[0]
            if opened.left
            else self.dice.choice(("silent", "silent", "silent", "over"))
        ):
            case "new":
                yield self.report(opened, ReportStatus.NEW)
            case "part" | "all" as how:
                lots = abs(opened.left) if how == "all" else self.dice.randint(1, abs(opened.left))
                books.position += sign * lots
                opened.filled += lots
                opened.left -= sign * lots
                if opened.left:
                    yield self.report(opened, ReportStatus.PARTIALLY_FILLED)
                else:
                    yield from self.finish(books, opened, ReportStatus.FILLED)
            case "too much":
                books.position += opened.left + 3 * sign
                opened.filled += abs(opened.left) + 3
                opened.left = 0
                books.excuse()
                yield self.report(opened, ReportStatus.PARTIALLY_FILLED)
            case "over":
                status = ReportStatus.CANCELED if opened.is_cancel_asked else ReportStatus.EXPIRED
                yield from self.finish(books, opened, ReportStatus.REJECTED if not opened.filled else status)

    def finish(self, books: Books, opened: Open, status: ReportStatus) -> Iterator[ExecutionReport]:
        del books.open[opened.order.order_id]
        self.finished = [*self.finished[-20:], opened]
        report = self.report(opened, status)
        yield from [report] * self.dice.choice((1, 1, 2))

    def report(self, opened: Open, status: ReportStatus) -> ExecutionReport:
        order = opened.order
        opened.seq += 1
        return ExecutionReport(
            exec_id=f"{order.order_id}-{opened.seq}",
            order_id=order.order_id,
            instrument=order.instrument,
            ts_event=self.clock_ns,
            side=order.side,
            strategy=order.strategy,
            bundle_id=order.bundle_id,
            status=status,
            report_seq=opened.seq,
            cumulative_quantity=opened.filled * SIZE,
            average_price=PRICE,
            cumulative_fee=0.0,
            leaves_quantity=abs(opened.left) * SIZE,
            order=OrderPosition(partition=0, offset=opened.offset),
        )

    def quotes(self) -> list[Quote]:
        count = self.dice.choice((1, 1, 2, 3)) if self._conflate else 1
        made = []
        for name in self.dice.choices(NAMES, k=count):
            bid = PRICE + self.dice.randint(-6, 6) * 0.5
            made.append(
                Quote(instrument=name, ts_recv=self.clock_ns, bid=bid, bid_size=5.0, ask=bid + 0.5, ask_size=5.0)
            )
        return made

    def live(self, steps: int) -> None:
        for _ in range(steps):
            self.clock_ns += self.dice.choice((0, 1, 10_000_000, 60_000_000, 200_000_000, SECOND))
            reports = tuple(self.venue())
            self.step(self.quotes(), *self.person(), reports=reports)
            if self.dice.random() < 0.02:
                self.restart()


RESTING = {"order_type": "limit", "time_in_force": "GTC", "limit_offset_ticks": 1}


@pytest.mark.parametrize(
    "actions", [{}, RESTING, {"dead_band": 2.0, "max_change": 3.0}], ids=["market", "resting", "small"]
)
@pytest.mark.parametrize("conflate", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_no_limit_is_exceeded_even_if_every_order_in_flight_fills(
    seed: int, conflate: bool, actions: dict[str, Any]
) -> None:
    world = World(seed, conflate=conflate, **actions)
    world.live(STEPS)
    assert world.passed > STEPS / 10
    assert {name: books.position for name, books in world.books.items()} == {
        name: world.shard.ledger.position_lots(name) for name in NAMES
    }
