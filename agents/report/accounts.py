"""The books of a run, kept once more from the log: equity over time, and what each bundle has earned."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct

from agents.report.log import Correction, Records, timeline
from agents.risk.instruments import NANO, Instrument
from agents.risk.ledger import BadReport
from agents.risk.limits.file import PortfolioLimits
from agents.risk.watch.portfolio import Portfolio
from messages import Bar, ExecutionReport, Observation, Quote, ReportStatus, Trade
from messages.decisions import BundleActivated

NO_BUNDLE = ""


class Traded(NamedTuple):
    """A fill: when, at which price on average, signed quantity (+ bought) in units, and the position after it."""

    time_ns: int
    price: float
    quantity: float
    position: float


class Activation(NamedTuple):
    """A bundle became active in an instrument; `replaced` is the one before it, NO_BUNDLE for the first."""

    time_ns: int
    instrument: str
    bundle_id: str
    sha256: str
    replaced: str


class Accounts(Struct, frozen=True, kw_only=True):
    """What the books say. Money in 1e-9 of the currency.

    `mids` and `equity` are (ns, value) at each good quote and at each mark; `gross` and `net` are the exposures at the
    times of `equity`: positions at their marks. `order_states` counts orders by the status of their last report.
    `pnl_nanos` by bundle adds up to `total_nanos` exactly; NO_BUNDLE is in it when something was earned or lost without
    an active bundle.
    """

    mids: Mapping[str, tuple[list[int], list[float]]]
    equity: tuple[list[int], list[int]]
    gross: list[int]
    net: list[int]
    trades: Mapping[str, list[Traded]]
    activations: list[Activation]
    pnl_nanos: Mapping[str, int]
    total_nanos: int
    fee_nanos: int
    fills: int
    order_states: Mapping[str, int]
    unbooked: int


def keep_accounts(records: Records, *, partitions: int, instruments: Mapping[str, Instrument], cash: float) -> Accounts:
    """Go through the log once, in the order in which the shards met it.

    A bundle earns, in each instrument, what equity changes by from its activation to the next one, both marked to mid:
    what the position was worth before is not its doing, what it holds from then on is, whoever opened it.
    """
    books = _Books(instruments, cash)
    for event in timeline(records, partitions):
        match event.item:
            case ExecutionReport() as report:
                books.report(report, event.time_ns)
            case Quote() | Trade() | Bar() | Observation() as tick:
                books.tick(tick, event.time_ns)
            case BundleActivated() as activated:
                books.activate(activated, event.time_ns)
            case Correction() as correction:
                books.correct(correction)
            case _:  # a type of message that this version doesn't know
                continue
    return books.close()


class _Books:
    """The state of one pass over the log."""

    def __init__(self, instruments: Mapping[str, Instrument], cash: float) -> None:
        self._instruments = instruments
        # The Risk agent's own portfolio: the same marks and the same sums as its snapshots.
        self._portfolio = Portfolio(instruments, PortfolioLimits(), cash=cash)
        self._ledger = self._portfolio.ledger
        self._mids: dict[str, tuple[list[int], list[float]]] = {name: ([], []) for name in instruments}
        self._equity: tuple[list[int], list[int]] = ([], [])
        self._gross: list[int] = []
        self._net: list[int] = []
        self._trades: dict[str, list[Traded]] = {name: [] for name in instruments}
        self._activations: list[Activation] = []
        self._since: dict[str, tuple[str, int]] = {}
        self._pnl: dict[str, int] = {}
        self._states: dict[str, tuple[int, str]] = {}
        self._corrected_to = -1
        self._unbooked = 0
        self._now_ns = 0

    def tick(self, tick: Quote | Trade | Bar | Observation, now_ns: int) -> None:
        name, self._now_ns = tick.instrument, now_ns
        if name not in self._instruments:
            return
        is_marked = self._portfolio.apply_tick(tick, now_ns)
        if is_marked and (price := _price(tick)) is not None:
            times, prices = self._mids[name]
            times.append(now_ns)
            prices.append(price)
        if self._ledger.position_lots(name) or not self._equity[0]:
            self._observe(now_ns)

    def report(self, report: ExecutionReport, now_ns: int) -> None:
        known = self._states.get(report.order_id)
        if report.status is not ReportStatus.CANCEL_REJECTED and (known is None or report.report_seq > known[0]):
            self._states[report.order_id] = report.report_seq, report.status.value
        try:
            fill = self._ledger.apply(report)
        except BadReport:  # Execution parks it and halts the instrument; here it is counted
            self._unbooked += 1
            return
        if fill is None or fill.lots == 0:
            return
        instrument = self._instruments[fill.instrument]
        ticks = fill.value_nanos / (fill.lots * instrument.nanos_per_tick_lot)
        position = instrument.quantity(self._ledger.position_lots(fill.instrument))
        traded = Traded(report.ts_event, ticks * instrument.price_step, instrument.quantity(fill.lots), position)
        self._trades[fill.instrument].append(traded)
        self._observe(now_ns)

    def activate(self, activated: BundleActivated, now_ns: int) -> None:
        name = activated.instrument
        before, _ = self._since.get(name, (NO_BUNDLE, 0))
        if before == activated.bundle_id:
            return
        self._settle(name, activated.bundle_id)
        self._activations.append(Activation(now_ns, name, activated.bundle_id, activated.sha256, before))

    def correct(self, correction: Correction) -> None:
        if correction.offset <= self._corrected_to:
            return
        self._corrected_to = correction.offset
        try:
            self._portfolio.apply_adjust(correction.adjust)
        except BadReport:
            self._unbooked += 1

    def close(self) -> Accounts:
        for name in self._instruments:
            self._settle(name, NO_BUNDLE)
        if not self._pnl.get(NO_BUNDLE):
            self._pnl.pop(NO_BUNDLE, None)
        if self._equity[0]:
            self._observe(max(self._now_ns, self._equity[0][-1]))
        return Accounts(
            mids=self._mids,
            equity=self._equity,
            gross=self._gross,
            net=self._net,
            trades=self._trades,
            activations=self._activations,
            pnl_nanos=self._pnl,
            total_nanos=self._ledger.equity_nanos() - self._ledger.capital_nanos,
            fee_nanos=self._ledger.fee_nanos(),
            fills=sum(len(trades) for trades in self._trades.values()),
            order_states=Counter(state for _, state in self._states.values()),
            unbooked=self._unbooked,
        )

    def _settle(self, name: str, successor: str) -> None:
        """Credit the bundle active until now with what the instrument has earned since, and begin the next one's."""
        ledger = self._ledger
        earned = ledger.realized_nanos(name) + ledger.unrealized_nanos(name) - ledger.fee_nanos(name)
        bundle_id, before = self._since.get(name, (NO_BUNDLE, 0))
        self._pnl[bundle_id] = self._pnl.get(bundle_id, 0) + earned - before
        self._since[name] = (successor, earned)

    def _observe(self, now_ns: int) -> None:
        times, values = self._equity
        times.append(now_ns)
        values.append(self._ledger.equity_nanos())
        self._gross.append(self._ledger.gross_exposure_nanos())
        self._net.append(self._ledger.net_exposure_nanos())


def currency_of(nanos: int) -> float:
    """Return 1e-9 of the currency as currency."""
    return nanos / NANO


def _price(tick: Quote | Trade | Bar | Observation) -> float | None:
    match tick:
        case Quote(bid=bid, ask=ask) if 0 < bid <= ask:
            return (bid + ask) / 2
        case Bar(close=close):
            return close
        case _:
            return None
