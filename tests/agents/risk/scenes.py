"""What docs/risk.md tells in its examples, played: a scene before the gate, a story of the portfolio."""

import re
from collections.abc import Callable
from typing import Any, ClassVar

from msgspec.structs import replace

from agents.risk.gate import Gate, Proposal, View
from agents.risk.instruments import NANO, Instrument
from agents.risk.kill_switch import TradingState
from agents.risk.limits.file import Limits
from agents.risk.watch.crossings import Breach
from agents.risk.watch.execution_check import ExecutionCheck
from agents.risk.watch.portfolio import Portfolio
from messages import ExecutionReport, Heartbeat, Quote, ReportStatus
from messages.reports import OrderPosition
from messages.status import ShardStatus

MS, NOW = 1_000_000, 1_700_006_400 * NANO
DAY_NS = 86_400 * NANO
NAME = "BTCUSDT"


def limits_of(cell: str) -> dict[str, float]:
    """`max_position: 0.5`, ... as a mapping."""
    return {name: float(value) for name, value in re.findall(r"`(\w+): ([\d.]+)`", cell)}


BTC = Instrument(instrument=NAME, price_step=0.5, quantity_step=0.001)
BID, ASK = 39_990.0, 40_000.0
UNBOUNDED = {"max_order_value": 1e9, "max_gross_exposure": 1e9, "max_net_exposure": 1e9, "duplicate_window_ms": 0}


class Scene:
    """What there is when an order is proposed, said in words."""

    def __init__(self, limits: dict[str, float]) -> None:
        whole = {name: int(value) if value.is_integer() else value for name, value in limits.items()}
        self.gate = Gate(Limits.convert({"defaults": UNBOUNDED | whole}), {NAME: BTC})
        self.view = View(
            position_lots=0,
            state=TradingState.ACTIVE,
            bid_ticks=BTC.ticks(BID),
            ask_ticks=BTC.ticks(ASK),
            reference_ts_ns=NOW,
        )

    def say(self, words: str) -> None:
        for pattern, then in self.WORDS.items():
            if found := re.fullmatch(pattern, words):
                then(self, *found.groups())
                return
        raise AssertionError(f"no test knows what {words!r} means")

    def set(self, **changes: Any) -> None:
        self.view = replace(self.view, **changes)

    def others(self, value: str) -> None:
        nanos = round(float(value) * NANO)
        self.set(other_gross_nanos=abs(nanos), other_long_nanos=nanos, other_short_nanos=nanos)

    def sent(self, order: str, age_ms: float, mid: float = 39_995.0) -> None:
        self.gate.record(proposal(order), round(2 * mid / BTC.price_step), NOW - round(age_ms * MS))

    def several(self, count: str, within_ms: str) -> None:
        for number in range(int(count)):  # the first exactly so long ago, no two alike
            self.sent(f"buy {(number + 1) / 1000}", float(within_ms) * (1 - number / int(count)))

    WORDS: ClassVar[dict[str, Callable[..., None]]] = {
        r"": lambda self: None,
        r"holds (.*)": lambda self, units: self.set(position_lots=BTC.lots(float(units))),
        r"buying (.*)": lambda self, units: self.set(open_buy_lots=BTC.lots(float(units)), open_orders=1),
        r"selling (.*)": lambda self, units: self.set(open_sell_lots=BTC.lots(float(units)), open_orders=1),
        r"(\d+) orders? open": lambda self, count: self.set(open_orders=int(count)),
        r"others (.*)": others,
        r"bid (\d+)": lambda self, price: self.set(bid_ticks=BTC.ticks(float(price))),
        r"ask (\d+)": lambda self, price: self.set(ask_ticks=BTC.ticks(float(price))),
        r"quote (\d+) ms old": lambda self, age: self.set(reference_ts_ns=NOW - int(age) * MS),
        r"(\w+ [\d.]+) was sent (\d+) ms ago": lambda self, order, age: self.sent(order, float(age)),
        r"(\d+) orders in the last (\d+) ms": several,
        r"mid was (\d+), (\d+) s ago": lambda self, mid, age: self.sent("buy 0.001", 1e3 * float(age), float(mid)),
        r"bundle's (\w+) ([\d.]+)": lambda self, name, value: self.set(bundle_limits={name: float(value)}),
        r"(reducing|halted)": lambda self, state: self.set(state=TradingState(state)),
        r"flattening": lambda self: self.set(is_flattening=True),
        r"report awaited": lambda self: self.set(awaiting_report=True),
    }


def proposal(words: str) -> Proposal:
    found = re.fullmatch(r"(reduce-only )?(buy|sell) ([\d.]+)(?: at ([\d.]+))?", words)
    assert found is not None, words
    only, side, units, price = found.groups()
    return Proposal(
        instrument=NAME,
        strategy="s",
        side="buy" if side == "buy" else "sell",
        lots=BTC.lots(float(units)) or 0,
        order_type="market" if price is None else "limit",
        limit_ticks=None if price is None else BTC.ticks(float(price)),
        reduce_only=only is not None,
    )


class Story:
    """What happened to a portfolio, said in words."""

    def __init__(self, limits: dict[str, float]) -> None:
        whole = {name: int(value) if value.is_integer() else value for name, value in limits.items()}
        self.limits = Limits.convert({"portfolio": whole}).portfolio
        self.instruments = {NAME: Instrument(instrument=NAME, price_step=0.5, quantity_step=0.1)}
        self.portfolio = Portfolio(self.instruments, self.limits, cash=1_000.0)
        self.check = ExecutionCheck(self.instruments, self.limits, shards=1)
        self.now_ns = NOW - NOW % DAY_NS + DAY_NS // 2
        self.reports, self.last_mid = 0, ""
        self.portfolio.observe(self.now_ns)

    def say(self, words: str) -> None:
        for pattern, then in self.WORDS.items():
            if found := re.fullmatch(pattern, words):
                then(self, *found.groups())
                self.portfolio.observe(self.now_ns)
                return
        raise AssertionError(f"no test knows what {words!r} means")

    def trade(self, verb: str, units: str, price: str, status: ReportStatus = ReportStatus.FILLED) -> None:
        report = ExecutionReport(
            exec_id=f"e{self.reports}",
            order_id=f"o{self.reports}",
            instrument=NAME,
            ts_event=self.now_ns,
            side="buy" if verb == "bought" else "sell",
            strategy="s",
            bundle_id="b",
            status=status,
            report_seq=0,
            cumulative_quantity=float(units),
            average_price=float(price),
            cumulative_fee=0.0,
            leaves_quantity=0.0,
            order=OrderPosition(partition=0, offset=self.reports),
        )
        self.portfolio.apply_report(report)
        self.reports += 1

    def reject(self, count: str) -> None:
        for _ in range(int(count)):
            self.trade("bought", "0", "0", ReportStatus.REJECTED)

    def mid(self, price: str) -> None:
        quote = Quote(
            instrument=NAME, ts_recv=1, bid=float(price) - 0.5, bid_size=1, ask=float(price) + 0.5, ask_size=1
        )
        assert self.portfolio.apply_tick(quote, self.now_ns)
        self.last_mid = price

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * NANO)

    def until(self, seconds: float) -> None:
        self.now_ns += DAY_NS - self.now_ns % DAY_NS + round(seconds * NANO)
        self.mid(self.last_mid)  # or the price would be stale

    def beat(self, times: str, **status: Any) -> None:
        shard = ShardStatus(partition=0, control_to=0, reports_to=self.reports, **status)
        for _ in range({"once": 1, "twice": 2}[times]):
            self.check.hear(Heartbeat(agent_id="e", agent="execution", ts=self.now_ns, state="live", shards=(shard,)))
            self.check.compare(self.portfolio.ledger, {0: self.reports}, 0)

    WORDS: ClassVar[dict[str, Callable[..., None]]] = {
        r"(bought|sold) (\S+) at (\S+)": trade,
        r"(\d+) rejected": reject,
        r"mid (\S+)": mid,
        r"(\d+) s without a quote": lambda self, seconds: self.wait(float(seconds)),
        r"next day": lambda self: self.until(0),
        r"(\d+) s into the next day": lambda self, seconds: self.until(float(seconds)),
        r"Execution says (\S+) (once|twice)": lambda self, units, times: self.beat(
            times, positions={NAME: float(units)}
        ),
        r"p99 (\d+) us (once|twice)": lambda self, p99, times: self.beat(times, decision_p99_us=float(p99)),
        r"(\d+) of (\d+) at a bound": lambda self, part, whole: self.beat(
            "once", saturated=int(part), decisions=int(whole)
        ),
    }


def said(breach: Breach, words: str) -> str:
    """A breach in the words of the table, with its numbers where the table has them."""
    code = f"`{breach.code} {breach.text}`" if " " in words.partition("`:")[0] else f"`{breach.code}`"
    return f"{code}: {breach.level or 'alert'}"
