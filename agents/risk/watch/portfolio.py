"""The portfolio as the Risk agent sees it, pure: reports, ticks and the time in; figures and breaches out."""

from collections import deque
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from agents.risk.calculators import daily_loss, drawdown, ratio
from agents.risk.instruments import NANO, Instrument
from agents.risk.ledger import Fill, Ledger, LedgerState
from agents.risk.limits.file import PortfolioLimits
from agents.risk.watch.crossings import Breach
from messages import Adjust, Bar, ExecutionReport, Observation, Quote, ReportStatus, RiskSnapshot, Trade
from messages.control import PORTFOLIO, HaltLevel
from messages.risk import PositionView

_DAY_NS = 86_400 * NANO
_MILLI = 1_000_000


class PortfolioState(Struct, frozen=True, kw_only=True):
    """The books, and what is counted beside them. Peak and start of the day stand in snapshots, marks on `market`."""

    ledger: LedgerState
    streaks: tuple[tuple[str, str, int], ...] = ()
    rejected: tuple[bool, ...] = ()


class Portfolio:
    """All strategies and instruments of the cluster. `cash` in the currency."""

    def __init__(self, instruments: Mapping[str, Instrument], limits: PortfolioLimits, *, cash: float) -> None:
        self._instruments = instruments
        self._cash_nanos = round(cash * NANO)
        self._limits = limits
        self.ledger = Ledger(instruments, cash_nanos=self._cash_nanos)
        self._peak_nanos = self._day_start_nanos = self._cash_nanos
        self._day: int | None = None
        self._streaks: dict[tuple[str, str], int] = {}
        self._rejected: deque[bool] = deque(maxlen=limits.reject_window)
        self._marked_ns: dict[str, int] = {}
        self._watched_ns: int | None = None

    @property
    def limits(self) -> PortfolioLimits:
        """What the figures are held against."""
        return self._limits

    def set_limits(self, limits: PortfolioLimits) -> None:
        """Hold the figures against other limits from now on."""
        self._limits = limits
        self._rejected = deque(self._rejected, maxlen=limits.reject_window)

    def apply_report(self, report: ExecutionReport) -> Fill | None:
        """Book a report, and return what it changed. Raises BadReport when it can't be booked."""
        is_told_again = self.ledger.is_finished(report.order_id)
        fill = self.ledger.apply(report)
        if report.status.is_final and not is_told_again:
            self._rejected.append(report.status is ReportStatus.REJECTED)
        if fill is not None and fill.realized_nanos:
            key = (fill.strategy, fill.instrument)
            self._streaks[key] = self._streaks.get(key, 0) + 1 if fill.realized_nanos < 0 else 0
        return fill

    def apply_adjust(self, adjust: Adjust) -> None:
        """Book a correction by hand; peak and start of the day move with it: it is neither gain nor loss."""
        before = self.ledger.equity_nanos()
        self.ledger.apply_adjust(adjust)
        moved = self.ledger.equity_nanos() - before
        self._peak_nanos += moved
        self._day_start_nanos += moved

    def apply_tick(self, tick: Quote | Trade | Bar | Observation, now_ns: int) -> bool:
        """Mark the instrument at a good quote's middle, rounded down, or a bar's close; False: there is none in it."""
        ticks = mark_ticks(tick, self._instruments)
        if ticks is None:
            return False
        self.mark(tick.instrument, ticks, now_ns)
        return True

    def mark(self, instrument: str, ticks: int, now_ns: int) -> None:
        """Value an instrument at `ticks` from now on."""
        self.ledger.mark(instrument, ticks)
        self._marked_ns[instrument] = now_ns

    def state(self) -> PortfolioState:
        """Return what a restart goes on from."""
        return PortfolioState(
            ledger=self.ledger.snapshot(),
            streaks=tuple((*key, length) for key, length in sorted(self._streaks.items())),
            rejected=tuple(self._rejected),
        )

    def restore(self, state: PortfolioState) -> None:
        """Take a state over; what was applied so far is forgotten."""
        self.ledger = Ledger.restore(state.ledger, self._instruments)
        self._streaks = {(strategy, name): length for strategy, name, length in state.streaks}
        self._rejected = deque(state.rejected, maxlen=self._limits.reject_window)

    def resume_from(self, snapshot: RiskSnapshot) -> None:
        """Take peak and start of the day from the last snapshot before a restart."""
        if snapshot.peak_equity is not None:
            self._peak_nanos = round(snapshot.peak_equity * NANO)
        if snapshot.day_start_equity is not None and snapshot.day is not None:
            self._day_start_nanos, self._day = round(snapshot.day_start_equity * NANO), snapshot.day

    def rebase(self) -> None:
        """A person has let trading go on: losses count from here."""
        self._peak_nanos = self._day_start_nanos = self.ledger.equity_nanos()
        self._streaks.clear()

    def observe(self, now_ns: int) -> None:
        """Take the equity of now into peak and start of the day."""
        if self._watched_ns is None:
            self._watched_ns = now_ns
        equity = self.ledger.equity_nanos()
        self._peak_nanos = max(self._peak_nanos, equity)
        day = (now_ns - self.limits.day_ends_at_s * NANO) // _DAY_NS
        if self._day is None or day > self._day:
            self._day_start_nanos = self._cash_nanos if self._day is None else equity
            self._day = day

    def breaches(self, now_ns: int) -> list[Breach]:
        """Return all limits that are passed now."""
        limits, figures = self.limits, self._figures(now_ns, ())
        found = [
            _over("DRAWDOWN", limits.max_drawdown, figures.drawdown, "halted"),
            _over("DAILY_LOSS", limits.max_daily_loss, figures.daily_loss, "halted"),
            _over("GROSS_EXPOSURE", limits.max_gross_exposure, figures.gross_exposure, "reducing"),
            _over("NET_EXPOSURE", limits.max_net_exposure, abs(figures.net_exposure), "reducing"),
            _over("LOSS_STREAK", limits.max_loss_streak, figures.loss_streak, None),
        ]
        if len(self._rejected) == limits.reject_window:
            rejects = ratio(sum(self._rejected), limits.reject_window)
            found.append(_over("REJECT_RATIO", limits.max_reject_ratio, rejects, None))
        return [breach for breach in found if breach is not None] + self._stale(now_ns)

    def _stale(self, now_ns: int) -> list[Breach]:
        """What is held and has no new price; without any price, since it is watched at all."""
        most_ms, since_ns = self.limits.max_market_age_ms, self._watched_ns or now_ns
        return [
            Breach(code="STALE_MARKET", text=f"{name} limit={most_ms} ms age={age_ms:.0f} ms", instrument=name)
            for name in sorted(self._instruments)
            if self.ledger.position_lots(name)
            and (age_ms := (now_ns - self._marked_ns.get(name, since_ns)) / _MILLI) > most_ms
        ]

    def snapshot(self, now_ns: int, control_offset: int | None = None) -> RiskSnapshot:
        """Return the figures of the portfolio and of each instrument that was ever held."""
        names = sorted({held.instrument for held in self.ledger.holdings()})
        figures = self._figures(now_ns, tuple(self._view(name) for name in names))
        return replace(figures, control_offset=control_offset)

    def _figures(self, now_ns: int, positions: tuple[PositionView, ...]) -> RiskSnapshot:
        ledger = self.ledger
        equity = ledger.equity_nanos() / NANO
        peak, day_start = max(self._peak_nanos / NANO, equity), self._day_start_nanos / NANO
        return RiskSnapshot(
            scope=PORTFOLIO,
            ts=now_ns,
            equity=equity,
            cash=ledger.cash_nanos / NANO,
            realized_pnl=ledger.realized_nanos() / NANO,
            unrealized_pnl=ledger.unrealized_nanos() / NANO,
            fees=ledger.fee_nanos() / NANO,
            gross_exposure=ledger.gross_exposure_nanos() / NANO,
            net_exposure=ledger.net_exposure_nanos() / NANO,
            drawdown=drawdown(equity, peak),
            daily_loss=daily_loss(equity, day_start),
            loss_streak=max(self._streaks.values(), default=0),
            positions=positions,
            peak_equity=peak,
            day_start_equity=day_start,
            day=self._day,
        )

    def _view(self, name: str) -> PositionView:
        ledger, instrument = self.ledger, self._instruments[name]
        mark = ledger.mark_ticks(name)
        return PositionView(
            instrument=name,
            quantity=instrument.quantity(ledger.position_lots(name)),
            average_price=ledger.average_price(name) or 0.0,
            realized_pnl=ledger.realized_nanos(name) / NANO,
            unrealized_pnl=ledger.unrealized_nanos(name) / NANO,
            fees=ledger.fee_nanos(name) / NANO,
            mark=None if mark is None else instrument.price(mark),
        )


def mark_ticks(tick: Quote | Trade | Bar | Observation, instruments: Mapping[str, Instrument]) -> int | None:
    """Return the price that a tick values its instrument at, in steps; None: there is none in it."""
    instrument = instruments.get(tick.instrument)
    if instrument is None:
        return None
    if isinstance(tick, Quote) and 0 < tick.bid <= tick.ask:
        bid, ask = instrument.ticks(tick.bid), instrument.ticks(tick.ask)
        return None if bid is None or ask is None else (bid + ask) // 2
    return instrument.ticks(tick.close) if isinstance(tick, Bar) else None


def _over(code: str, limit: float, value: float, level: HaltLevel | None) -> Breach | None:
    return Breach(code=code, text=f"limit={limit:g} value={value:g}", level=level) if value > limit else None
