"""The portfolio's figures: days, streaks, rejects."""

from agents.risk.limits.file import PortfolioLimits
from agents.risk.watch.portfolio import Portfolio
from messages import Quote, ReportStatus
from tests.agents.risk.market import INSTRUMENTS, NOW, report

DAY_NS = 86_400 * 10**9


def portfolio(**limits: float) -> Portfolio:
    return Portfolio(INSTRUMENTS, PortfolioLimits(**limits), cash=1_000.0)  # type: ignore[arg-type]


def mark(subject: Portfolio, mid: float) -> None:
    quote = Quote(instrument="BTC", ts_recv=NOW, bid=mid - 0.5, bid_size=1, ask=mid + 0.5, ask_size=1)
    subject.apply_tick(quote, NOW)


def codes(subject: Portfolio, now_ns: int = NOW) -> list[str]:
    subject.observe(now_ns)
    return [breach.code for breach in subject.breaches(now_ns)]


def test_a_daily_loss_counts_from_the_start_of_the_day() -> None:
    subject = portfolio(max_daily_loss=50.0, max_drawdown=1.0)
    subject.apply_report(report(cumulative_quantity=5.0))
    mark(subject, 95.0)
    assert codes(subject) == []
    mark(subject, 89.0)
    assert codes(subject) == ["DAILY_LOSS"]
    assert codes(subject, NOW + DAY_NS) == ["STALE_MARKET"]
    mark(subject, 78.0)
    assert "DAILY_LOSS" in codes(subject, NOW + DAY_NS)


def test_losing_trades_in_a_row_make_a_streak_that_a_gain_ends() -> None:
    subject = portfolio(max_loss_streak=1)
    for number, (side, price) in enumerate([("buy", 100.0), ("sell", 99.0), ("buy", 100.0), ("sell", 98.0)]):
        subject.apply_report(report(order_id=f"o{number}", side=side, average_price=price))
    assert codes(subject) == ["LOSS_STREAK"]
    subject.apply_report(report(order_id="o4", average_price=100.0))
    subject.apply_report(report(order_id="o5", side="sell", average_price=101.0))
    assert codes(subject) == []


def test_a_full_window_of_rejects_is_a_breach() -> None:
    subject = portfolio(reject_window=4, max_reject_ratio=0.5)
    for number in range(4):
        assert codes(subject) == []
        subject.apply_report(report(order_id=f"o{number}", status=ReportStatus.REJECTED, cumulative_quantity=0.0))
    assert codes(subject) == ["REJECT_RATIO"]


def test_a_reject_that_is_told_again_counts_once() -> None:
    subject = portfolio(reject_window=4, max_reject_ratio=0.5)
    for _ in range(9):
        subject.apply_report(report(status=ReportStatus.REJECTED, cumulative_quantity=0.0))
    assert codes(subject) == []


def test_a_window_of_another_length_counts_from_what_is_known() -> None:
    subject = portfolio(reject_window=2, max_reject_ratio=0.5)
    for number in range(3):
        subject.apply_report(report(order_id=f"o{number}", status=ReportStatus.REJECTED, cumulative_quantity=0.0))
    subject.set_limits(PortfolioLimits(reject_window=3, max_reject_ratio=0.5))
    assert codes(subject) == []
    subject.apply_report(report(order_id="o3", status=ReportStatus.REJECTED, cumulative_quantity=0.0))
    assert codes(subject) == ["REJECT_RATIO"]
