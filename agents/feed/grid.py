"""Decimal grids on whole arrays: steps to numbers, and the grid that given numbers lie on."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt

MAX_DECIMALS = 9
_NOISE = 2e-15  # relative: what float64 arithmetic leaves behind, as in 0.00031099999999999997


def on_grid(steps: npt.NDArray[np.int64], step: float) -> npt.NDArray[np.float64]:
    """Return `steps * step` as the float64 nearest to each decimal number; equal to Instrument.price and .quantity."""
    exact = Fraction(Decimal(repr(float(step))))
    return (steps * exact.numerator) / np.float64(exact.denominator)


def decimals_of(values: npt.NDArray[np.float64], at_most: int = MAX_DECIMALS) -> int:
    """Return the fewest decimal places that write every value, up to `at_most`; binary rounding noise is no digit."""
    for decimals in range(at_most):
        if np.all(np.abs(values - np.round(values, decimals)) <= np.abs(values) * _NOISE):
            return decimals
    return at_most


def step_of(decimals: int) -> float:
    """Return 10**-decimals as the nearest float64."""
    return float(Fraction(1, 10**decimals))
