"""Risk figures from named quantities: the same functions for training, the Risk agent and reports. No enforcement.

Quantities that an observation may hold (all optional; a figure is given when what it needs is there):

position            units, signed                 price             quote currency per unit
average_price       quote currency per unit       multiplier        currency per unit and price (1 if absent)
equity, cash        currency                      peak_equity       highest equity so far
day_start_equity    currency                      gross_exposure    currency, sum of absolute position values
net_exposure        currency, signed sum          returns           sequence, fraction of 1 per period
traded_value        currency, sum of absolute fills                 orders, rejects   counts
trade_pnls          sequence, currency, oldest first
"""

import math
from collections.abc import Callable, Mapping, Sequence

from messages.errors import Refused

Observed = Mapping[str, float | Sequence[float]]
VAR_LEVEL = 0.95


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


def daily_loss(equity: float, day_start_equity: float) -> float:
    """Return what was lost since the day began, in currency; 0 when nothing was."""
    return max(0.0, day_start_equity - equity)


def loss_streak(trade_pnls: Sequence[float]) -> int:
    """Return how many of the newest trades in a row lost money; those of exactly zero don't count either way."""
    streak = 0
    for pnl in reversed(trade_pnls):
        if pnl > 0:
            break
        streak += pnl < 0
    return streak


def ratio(part: float, whole: float) -> float:
    """Return part / whole, 0 when there is nothing."""
    return part / whole if whole > 0 else 0.0


def volatility(returns: Sequence[float]) -> float:
    """Return the sample standard deviation of returns; 0 for fewer than two."""
    n = len(returns)
    if n < 2:
        return 0.0
    mean = math.fsum(returns) / n
    return math.sqrt(math.fsum((r - mean) ** 2 for r in returns) / (n - 1))


def value_at_risk(returns: Sequence[float], level: float = VAR_LEVEL) -> float:
    """Return the historical loss (fraction, >= 0) that `level` of the returns don't exceed."""
    if not returns:
        return 0.0
    worst_first = sorted(returns)
    return max(0.0, -worst_first[min(len(returns) - 1, int((1 - level) * len(returns)))])


def expected_shortfall(returns: Sequence[float], level: float = VAR_LEVEL) -> float:
    """Return the mean loss (fraction, >= 0) of the returns at or beyond the value at risk."""
    if not returns:
        return 0.0
    worst_first = sorted(returns)
    tail = worst_first[: int((1 - level) * len(returns)) + 1]
    return max(0.0, -math.fsum(tail) / len(tail))


def _exposure(o: Mapping[str, float]) -> float:
    return o["position"] * o["price"] * o.get("multiplier", 1.0)


def _unrealized(o: Mapping[str, float]) -> float:
    return o["position"] * (o["price"] - o["average_price"]) * o.get("multiplier", 1.0)


Scalar = Callable[[Mapping[str, float]], float]
Series = Callable[[Sequence[float]], float]

# Metric -> the numbers it needs, and its formula.
SCALARS: dict[str, tuple[tuple[str, ...], Scalar]] = {
    "exposure": (("position", "price"), _exposure),
    "unrealized_pnl": (("position", "price", "average_price"), _unrealized),
    "drawdown": (("equity", "peak_equity"), lambda o: drawdown(o["equity"], o["peak_equity"])),
    "daily_loss": (("equity", "day_start_equity"), lambda o: daily_loss(o["equity"], o["day_start_equity"])),
    "gross_exposure": (("gross_exposure",), lambda o: o["gross_exposure"]),
    "net_exposure": (("net_exposure",), lambda o: o["net_exposure"]),
    "leverage": (("gross_exposure", "equity"), lambda o: ratio(o["gross_exposure"], o["equity"])),
    "turnover": (("traded_value", "equity"), lambda o: ratio(o["traded_value"], o["equity"])),
    "reject_ratio": (("rejects", "orders"), lambda o: ratio(o["rejects"], o["orders"])),
}
# Metric -> the sequence it needs, and its formula.
SERIES: dict[str, tuple[str, Series]] = {
    "loss_streak": ("trade_pnls", lambda pnls: float(loss_streak(pnls))),
    "volatility": ("returns", volatility),
    "value_at_risk": ("returns", value_at_risk),
    "expected_shortfall": ("returns", expected_shortfall),
}
METRICS: tuple[str, ...] = (*SCALARS, *SERIES)


def calculate(observed: Observed) -> dict[str, float]:
    """Return every metric whose quantities are there. Raises BadObservation or UnknownQuantity."""
    numbers, sequences = _checked(observed)
    given = numbers.keys()
    metrics = {name: formula(numbers) for name, needs, formula in _PLAN if given >= needs}
    for name, (quantity, formula) in SERIES.items():
        if quantity in sequences:
            metrics[name] = formula(sequences[quantity])
    return metrics


_PLAN = [(name, frozenset(needs), formula) for name, (needs, formula) in SCALARS.items()]
_NUMBERS = frozenset({"multiplier", "cash", *(quantity for needs, _ in SCALARS.values() for quantity in needs)})
_SEQUENCES = frozenset(quantity for quantity, _ in SERIES.values())
QUANTITIES = _NUMBERS | _SEQUENCES


def _checked(observed: Observed) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
    numbers: dict[str, float] = {}
    sequences: dict[str, Sequence[float]] = {}
    for quantity, value in observed.items():
        if quantity in _NUMBERS:
            numbers[quantity] = _finite(quantity, value)
        elif quantity in _SEQUENCES:
            if isinstance(value, float | int) or not hasattr(value, "__len__"):
                raise BadObservation(quantity, value)
            sequences[quantity] = [_finite(quantity, item) for item in value]
        elif quantity not in QUANTITIES:
            raise UnknownQuantity([name for name in observed if name not in QUANTITIES])
    return numbers, sequences


def _finite(quantity: str, value: object) -> float:
    if value.__class__ is float and math.isfinite(value):
        return value
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise BadObservation(quantity, value) from None
    if not math.isfinite(number):
        raise BadObservation(quantity, value)
    return number
