"""Calculators and their two doors: figures whose right answer is known on paper."""

import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.risk import RiskAdvisor, RiskEngine
from agents.risk.calculators import (
    METRICS,
    QUANTITIES,
    SCALARS,
    SERIES,
    BadObservation,
    Observed,
    UnknownQuantity,
    calculate,
    drawdown,
    drawdowns,
    loss_streak,
    return_figures,
)
from agents.risk.limits.file import Limits, PortfolioLimits
from agents.risk.watch.portfolio import Portfolio
from tests.agents.risk.market import INSTRUMENTS, NOW, report

OBSERVED: Observed = {
    "position": -2.0,
    "price": 110.0,
    "average_price": 100.0,
    "equity": 900.0,
    "peak_equity": 1_000.0,
    "day_start_equity": 950.0,
    "gross_exposure": 220.0,
    "net_exposure": -220.0,
    "returns": [0.01, -0.02, 0.03, -0.04],
    "trade_pnls": [5.0, -1.0, 0.0, -2.0],
    "orders": 10,
    "traded_value": 450.0,
    "rejects": 1,
}


def test_every_metric_has_the_value_that_paper_gives() -> None:
    values = calculate(OBSERVED)
    assert set(values) == set(METRICS)
    assert values["exposure"] == -220
    assert values["unrealized_pnl"] == -20
    assert values["drawdown"] == pytest.approx(0.1)
    assert values["daily_loss"] == 50
    assert values["leverage"] == pytest.approx(220 / 900)
    assert values["reject_ratio"] == 0.1
    assert values["turnover"] == 0.5
    assert values["loss_streak"] == 2
    assert values["volatility"] == pytest.approx(0.0310913, rel=1e-5)
    assert values["value_at_risk"] == 0.04
    assert values["expected_shortfall"] == 0.04


def test_metrics_whose_quantities_are_absent_are_left_out() -> None:
    assert calculate({"position": 1.0, "price": 2.0}) == {"exposure": 2.0}


def test_an_unknown_quantity_is_refused_by_name_but_the_advisor_takes_what_it_knows(tmp_path: Path) -> None:
    with pytest.raises(UnknownQuantity, match="unknown quantities postion; known are average_price"):
        calculate({"postion": 1.0, "price": 2.0})
    path = tmp_path / "limits.yaml"
    path.write_text("")
    assert RiskAdvisor(path).evaluate({"position": 1.0, "price": 2.0, "TimeLimit.truncated": 0.0}) == {"exposure": 2.0}


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("equity", float("nan")),
        ("price", "high"),
        ("price", "1.5"),
        ("price", None),
        ("orders", 10**400),
        ("returns", 0.1),
        ("returns", "0.1"),
        ("returns", [float("inf")]),
        ("returns", [float("inf"), float("-inf")]),
        ("trade_pnls", [1.0, "2"]),
        ("trade_pnls", [[1.0]]),
    ],
)
def test_what_is_no_finite_number_is_refused(quantity: str, value: object) -> None:
    with pytest.raises(BadObservation, match=quantity):
        calculate({quantity: value})  # type: ignore[dict-item]


def test_numbers_of_other_libraries_give_the_same_as_pythons_own() -> None:
    borrowed = {
        name: np.array(value, dtype=np.float64) if isinstance(value, list) else np.float64(value)  # type: ignore[arg-type]
        for name, value in OBSERVED.items()
    }
    assert calculate(borrowed) == calculate(OBSERVED)  # type: ignore[arg-type]
    assert all(type(value) is float for value in calculate(borrowed).values())  # type: ignore[arg-type]
    large = calculate({"gross_exposure": 1e308, "net_exposure": 1e308})
    assert large == {"gross_exposure": 1e308, "net_exposure": 1e308}


@pytest.mark.parametrize(
    ("gross", "equity", "expected"),
    [(300.0, 100.0, 3.0), (0.0, 0.0, 0.0), (0.0, -5.0, 0.0), (1.0, 0.0, 1e6), (1.0, -5.0, 1e6), (1.0, 1e-300, 1e6)],
)
def test_leverage_grows_to_its_end_where_equity_does(gross: float, equity: float, expected: float) -> None:
    assert calculate({"gross_exposure": gross, "equity": equity})["leverage"] == expected


@given(st.lists(st.floats(-1, 1), max_size=60))
def test_figures_of_returns_are_those_of_the_textbook(returns: list[float]) -> None:
    figures = return_figures(returns)
    if len(returns) > 1:
        assert figures.volatility == pytest.approx(statistics.stdev(returns), abs=1e-12)
    beyond = sum(-value > figures.value_at_risk for value in returns)
    assert beyond <= 0.05 * len(returns) + 1e-9
    assert figures.expected_shortfall >= figures.value_at_risk - 1e-12
    assert max([0.0, *(-value for value in returns)]) >= figures.expected_shortfall - 1e-12


@given(st.lists(st.floats(-1e6, 1e6), max_size=60))
def test_a_drawdown_over_time_is_the_drawdown_from_the_peak_so_far(equities: list[float]) -> None:
    assert drawdowns(equities) == [drawdown(equity, max(equities[: n + 1])) for n, equity in enumerate(equities)]


@given(st.lists(st.integers(-3, 3), max_size=12))
def test_the_portfolio_counts_losses_as_the_calculator_does(pnls: list[int]) -> None:
    portfolio = Portfolio(INSTRUMENTS, PortfolioLimits(), cash=0.0)
    for n, pnl in enumerate(pnls):
        for side, price in (("buy", 100.0), ("sell", 100.0 + pnl)):
            portfolio.apply_report(report(order_id=f"{n}{side}", side=side, average_price=price))
    assert portfolio.snapshot(NOW).loss_streak == loss_streak(pnls)


def test_each_metric_is_there_when_all_that_it_needs_is_and_only_then() -> None:
    needs = {metric: wanted for metric, (wanted, _) in SCALARS.items()}
    needs |= {metric: (name,) for name, (metrics, _) in SERIES.items() for metric in metrics}
    assert set(needs) == set(METRICS)
    assert set(QUANTITIES) == {"cash", "multiplier", *(name for names in needs.values() for name in names)}
    for metric, names in needs.items():
        assert metric in calculate({name: OBSERVED[name] for name in names})
        for missing in names:
            assert metric not in calculate({name: value for name, value in OBSERVED.items() if name != missing})


def test_engine_and_advisor_hold_figures_against_the_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("portfolio: {max_drawdown: 0.05, max_daily_loss: 100}\n")
    calculation = RiskEngine.from_yaml(path).calculate_only(OBSERVED)
    assert calculation.metric_values["drawdown"] == pytest.approx(0.1)
    assert calculation.breached == ("drawdown",)
    advice = RiskAdvisor(path).evaluate(OBSERVED)
    assert advice["drawdown_used"] == pytest.approx(2.0)
    assert advice["daily_loss_used"] == pytest.approx(0.5)
    assert RiskEngine(Limits()).calculate_only({}).metric_values == {}
