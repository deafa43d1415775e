"""Calculators and their two doors: figures whose right answer is known on paper."""

from pathlib import Path

import pytest

from agents.risk import RiskAdvisor, RiskEngine
from agents.risk.calculators import METRICS, BadObservation, Observed, UnknownQuantity, calculate
from agents.risk.limits import Limits

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
    [("equity", float("nan")), ("price", "high"), ("returns", 0.1), ("returns", [float("inf")])],
)
def test_what_is_no_finite_number_is_refused(quantity: str, value: object) -> None:
    with pytest.raises(BadObservation, match=quantity):
        calculate({quantity: value})  # type: ignore[dict-item]


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
