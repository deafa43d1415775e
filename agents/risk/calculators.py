"""Risk figures from named quantities: the same functions for training, the Risk agent and reports. No enforcement.

An observation is a mapping of the names in QUANTITIES to numbers, or to sequences of numbers. All are optional: a
metric is given when what it needs is there. docs/risk.md has the table of both.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

from messages.errors import Refused

Observed = Mapping[str, float | Sequence[float]]
VAR_LEVEL = 0.95
MAX_LEVERAGE = 1e6  # also where nothing is left: a figure that shaping and alerts can compare, never infinity

# Quantity -> its unit and meaning. Where it is a sequence, the oldest comes first.
QUANTITIES: dict[str, str] = {
    "position": "units, signed",
    "price": "currency of the quote a unit",
    "average_price": "currency of the quote a unit, what the position cost",
    "multiplier": "currency for a unit and a price of 1; 1 when it is absent",
    "equity": "currency",
    "cash": "currency; no metric needs it",
    "peak_equity": "currency, the highest equity so far",
    "day_start_equity": "currency, when the trading day began",
    "gross_exposure": "currency, the sum of the positions' absolute values",
    "net_exposure": "currency, the sum of the positions' signed values",
    "traded_value": "currency, the sum of the fills' absolute values",
    "orders": "count",
    "rejects": "count, of those orders",
    "returns": "sequence of fractions of 1, one a period",
    "trade_pnls": "sequence of currency, one a closed trade",
}


class BadObservation(Refused):
    """Raised when a quantity is not a finite number, or not a sequence of them where one is needed."""

    def __init__(self, quantity: str, value: object) -> None:
        super().__init__(f"quantity {quantity} is {value!r}; give finite numbers, see agents/risk/calculators.py")
        self.quantity, self.value = quantity, value


class UnknownQuantity(Refused):
    """Raised when an observation holds a name that no calculator knows: a typing error would go unnoticed."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"unknown quantities {', '.join(names)}; known are {', '.join(sorted(QUANTITIES))}")
        self.names = names


def drawdown(equity: float, peak_equity: float) -> float:
    """Return the loss from the peak as a fraction of it; 0 at or above it, 1 or more when all is lost."""
    if equity >= peak_equity:
        return 0.0
    return (peak_equity - equity) / peak_equity if peak_equity > 0 else 1.0


def drawdowns(equities: Iterable[float]) -> list[float]:
    """Return the drawdown at each equity from the highest until then."""
    equities = list(equities)
    return [drawdown(equity, peak) for equity, peak in zip(equities, accumulate(equities, max), strict=True)]


def daily_loss(equity: float, day_start_equity: float) -> float:
    """Return what was lost since the day began, in currency; 0 when nothing was."""
    return max(0.0, day_start_equity - equity)


def exposure(position: float, price: float, multiplier: float = 1.0) -> float:
    """Return the signed value of a position."""
    return position * price * multiplier


def unrealized_pnl(position: float, price: float, average_price: float, multiplier: float = 1.0) -> float:
    """Return what an open position has gained since it was bought, before fees."""
    return position * (price - average_price) * multiplier


def leverage(gross_exposure: float, equity: float) -> float:
    """Return exposure as a multiple of equity, at most MAX_LEVERAGE; that, too, for any exposure without equity."""
    if gross_exposure < equity * MAX_LEVERAGE:
        return gross_exposure / equity
    return MAX_LEVERAGE if gross_exposure > 0 else 0.0


def ratio(part: float, whole: float) -> float:
    """Return part / whole, 0 when there is nothing."""
    return part / whole if whole > 0 else 0.0


def loss_streak(trade_pnls: Sequence[float]) -> int:
    """Return how many of the newest trades in a row lost money; those of exactly zero don't count either way."""
    streak = 0
    for pnl in reversed(trade_pnls):
        if pnl > 0:
            break
        streak += pnl < 0
    return streak


class ReturnFigures(NamedTuple):
    """What returns say of risk, as fractions of 1; all 0 without any.

    `volatility`: sample standard deviation. `value_at_risk`: the loss that VAR_LEVEL of the returns don't exceed.
    `expected_shortfall`: the mean loss of the returns at or beyond it. Both historical, and never below 0.
    """

    volatility: float
    value_at_risk: float
    expected_shortfall: float


def return_figures(returns: Sequence[float], level: float = VAR_LEVEL) -> ReturnFigures:
    """Return volatility, value at risk and expected shortfall."""
    n = len(returns)
    if n == 0:
        return ReturnFigures(0.0, 0.0, 0.0)
    mean = math.fsum(returns) / n
    tail = sorted(returns)[: int((1 - level) * n) + 1]
    last, beyond = float(tail[-1]), math.fsum(tail) / len(tail)
    return ReturnFigures(
        math.dist(returns, (mean,) * n) / math.sqrt(n - 1) if n > 1 else 0.0,
        -last if last < 0 else 0.0,
        -beyond if beyond < 0 else 0.0,
    )


Numbers = Mapping[str, float]
Scalar = Callable[[Numbers], float]
Series = Callable[[Sequence[float]], Sequence[float]]

# Metric -> the numbers that it needs, and its formula.
SCALARS: dict[str, tuple[tuple[str, ...], Scalar]] = {
    "exposure": (("position", "price"), lambda o: exposure(o["position"], o["price"], o.get("multiplier", 1.0))),
    "unrealized_pnl": (
        ("position", "price", "average_price"),
        lambda o: unrealized_pnl(o["position"], o["price"], o["average_price"], o.get("multiplier", 1.0)),
    ),
    "drawdown": (("equity", "peak_equity"), lambda o: drawdown(o["equity"], o["peak_equity"])),
    "daily_loss": (("equity", "day_start_equity"), lambda o: daily_loss(o["equity"], o["day_start_equity"])),
    "gross_exposure": (("gross_exposure",), lambda o: o["gross_exposure"]),
    "net_exposure": (("net_exposure",), lambda o: o["net_exposure"]),
    "leverage": (("gross_exposure", "equity"), lambda o: leverage(o["gross_exposure"], o["equity"])),
    "turnover": (("traded_value", "equity"), lambda o: leverage(o["traded_value"], o["equity"])),
    "reject_ratio": (("rejects", "orders"), lambda o: ratio(o["rejects"], o["orders"])),
}
# Sequence -> the metrics that it gives, and their formula.
SERIES: dict[str, tuple[tuple[str, ...], Series]] = {
    "trade_pnls": (("loss_streak",), lambda pnls: (float(loss_streak(pnls)),)),
    "returns": (ReturnFigures._fields, return_figures),
}
METRICS: tuple[str, ...] = (*SCALARS, *(metric for metrics, _ in SERIES.values() for metric in metrics))


def calculate(observed: Observed) -> dict[str, float]:
    """Return every metric whose quantities are there. Raises BadObservation or UnknownQuantity."""
    numbers, scalars, series = _plan(tuple(observed))
    checked: Any = observed
    if not _is_plain(observed, numbers, series):
        checked = {name: _checked(name, observed[name]) for name in observed}
    metrics = {name: formula(checked) for name, formula in scalars}
    for quantity, names, figures in series:
        metrics.update(zip(names, figures(checked[quantity])))  # noqa: B905 - hot, and tested for each
    return metrics


class _Plan(NamedTuple):
    """What an observation with certain names allows."""

    numbers: Callable[[Observed], tuple[Any, ...]]
    scalars: tuple[tuple[str, Scalar], ...]
    series: tuple[tuple[str, tuple[str, ...], Series], ...]


@lru_cache(maxsize=256)
def _plan(names: tuple[str, ...]) -> _Plan:
    if unknown := [name for name in names if name not in QUANTITIES]:
        raise UnknownQuantity(unknown)
    numbers = [name for name in names if name not in SERIES]
    return _Plan(
        itemgetter(*numbers) if len(numbers) > 1 else lambda observed: tuple([observed[name] for name in numbers]),
        tuple((metric, formula) for metric, (needs, formula) in SCALARS.items() if set(needs) <= set(names)),
        tuple((name, *SERIES[name]) for name in names if name in SERIES),
    )


def _is_plain(
    observed: Observed, numbers: Callable[[Observed], tuple[Any, ...]], series: Iterable[tuple[str, object, object]]
) -> bool:
    """Whether all is Python's own finite numbers, in lists and tuples: a sum shows any that is not."""
    try:
        total = sum(numbers(observed), 0.0)
        for name, _, _ in series:
            values: Any = observed[name]
            if values.__class__ is not list and values.__class__ is not tuple:
                return False
            total = sum(values, total)
    except (TypeError, ValueError, OverflowError):
        return False
    return total.__class__ is float and math.isfinite(total)


def _checked(quantity: str, value: object) -> float | list[float]:
    if quantity not in SERIES:
        return _finite(quantity, value)
    if isinstance(value, str | bytes) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        raise BadObservation(quantity, value)
    return [_finite(quantity, item) for item in value]


def _finite(quantity: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise BadObservation(quantity, value) from None
    if not math.isfinite(number) or isinstance(value, str | bytes):
        raise BadObservation(quantity, value)
    return number
