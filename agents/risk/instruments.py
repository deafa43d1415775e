"""Reference data of instruments, and the exact arithmetic that it makes possible.

Prices are whole price steps (ticks), quantities whole quantity steps (lots), money integer 1e-9 of the currency.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Annotated

from msgspec import Meta, Struct

from agents.errors import SettingsError

NANO = 1_000_000_000
GRID_TOLERANCE = 1e-6
_KNOWN_PRICES = 4096
MAX_STEPS = 2**53  # beyond, neighbouring floats are more than one step apart: a number no longer says which it means

Positive = Annotated[float, Meta(gt=0)]


class Instrument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One instrument as the venue defines it.

    `price_step` in quote currency, `quantity_step` in units, `multiplier` currency per unit and price, fees in basis
    points of the traded value (positive = paid).
    """

    instrument: Annotated[str, Meta(min_length=1, max_length=128)]
    price_step: Positive
    quantity_step: Positive
    currency: str = "USD"
    multiplier: Positive = 1.0
    maker_fee_bps: float = 0.0
    taker_fee_bps: float = 0.0

    @cached_property
    def nanos_per_tick_lot(self) -> int:
        """Money (1e-9) that one lot is worth at one tick. Raises SettingsError when that is no whole number."""
        exact = _exact(self.price_step) * _exact(self.quantity_step) * _exact(self.multiplier) * NANO
        if exact.denominator != 1:
            raise SettingsError(
                f"instruments.{self.instrument}",
                f"price_step x quantity_step x multiplier = {float(exact / NANO):g} is finer than 1e-9 {self.currency}",
            )
        return exact.numerator

    @cached_property
    def ticks(self) -> Callable[[float], int | None]:
        """Return a price in whole steps, or None when it is not on the grid, or beyond MAX_STEPS."""
        return lru_cache(maxsize=_KNOWN_PRICES)(self._ticks)  # prices come again and again

    def _ticks(self, price: float) -> int | None:
        steps = price / self.price_step
        if -MAX_STEPS <= steps <= MAX_STEPS and -GRID_TOLERANCE <= steps - (nearest := round(steps)) <= GRID_TOLERANCE:
            return nearest  # nearly always
        return _on_grid(steps)

    def lots(self, quantity: float) -> int | None:
        """Return the quantity in whole steps, or None when it is not on the grid, or beyond MAX_STEPS."""
        steps = quantity / self.quantity_step
        if -MAX_STEPS <= steps <= MAX_STEPS and -GRID_TOLERANCE <= steps - (nearest := round(steps)) <= GRID_TOLERANCE:
            return nearest  # nearly always
        return _on_grid(steps)

    def price(self, ticks: int) -> float:
        """Return the price of `ticks`, the float64 nearest to the decimal number."""
        numerator, denominator = self._price_ratio
        return ticks * numerator / denominator  # of whole numbers, so that it is rounded once

    def quantity(self, lots: int) -> float:
        """Return the quantity of `lots`, the float64 nearest to the decimal number."""
        numerator, denominator = self._quantity_ratio
        return lots * numerator / denominator

    def value_nanos(self, ticks: int, lots: int) -> int:
        """Return the money (1e-9) that `lots` are worth at `ticks`."""
        return ticks * lots * self.nanos_per_tick_lot

    def fee_nanos(self, value_nanos: int, *, is_maker: bool) -> int:
        """Return the fee (1e-9) on a traded value, rounded up: never in our favour."""
        rate = self._maker_rate if is_maker else self._taker_rate
        return -((-abs(value_nanos) * rate.numerator) // rate.denominator)

    @cached_property
    def _price_ratio(self) -> tuple[int, int]:
        return _exact(self.price_step).as_integer_ratio()

    @cached_property
    def _quantity_ratio(self) -> tuple[int, int]:
        return _exact(self.quantity_step).as_integer_ratio()

    @cached_property
    def _maker_rate(self) -> Fraction:
        return _exact(self.maker_fee_bps) / 10_000

    @cached_property
    def _taker_rate(self) -> Fraction:
        return _exact(self.taker_fee_bps) / 10_000


def _exact(number: float) -> Fraction:
    return Fraction(Decimal(repr(float(number))))


def _on_grid(steps: float) -> int | None:
    if not -MAX_STEPS <= steps <= MAX_STEPS:
        return None
    nearest = round(steps)
    return nearest if abs(steps - nearest) <= GRID_TOLERANCE * max(1.0, abs(steps) * 1e-6) else None


def instruments_by_name(instruments: Iterable[Instrument]) -> dict[str, Instrument]:
    """Return the instruments by name. Raises SettingsError for doubles, mixed currencies and inexact steps."""
    table: dict[str, Instrument] = {}
    for instrument in instruments:
        if instrument.instrument in table:
            raise SettingsError("instruments", f"{instrument.instrument} is there twice")
        _ = instrument.nanos_per_tick_lot
        table[instrument.instrument] = instrument
    if len(currencies := {instrument.currency for instrument in table.values()}) > 1:
        raise SettingsError("instruments", f"one portfolio has one currency, found {', '.join(sorted(currencies))}")
    return table
