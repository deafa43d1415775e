"""Limits in whole steps and integer 1e-9 of the currency, ready to compare."""

from collections.abc import Mapping
from fractions import Fraction

from msgspec import Struct

from agents.errors import SettingsError
from agents.risk.instruments import NANO, Instrument
from agents.risk.limits.file import OrderLimits, bundle_limits, stricter

_MILLI = 1_000_000
_SLACK = 1e-9
_BPS = 10_000

Ratio = tuple[int, int]


class OrderRules(Struct, frozen=True, kw_only=True):
    """The limits of one strategy in one instrument; None: no limit. Collars are exact parts of a price."""

    limits: OrderLimits
    quantity_step: float
    nanos_per_tick_lot: int
    min_lots: int
    max_lots: int | None
    min_value: int
    max_value: int
    max_position: int | None
    max_gross: int
    max_net: int
    collar: Ratio
    collar_period: Ratio
    max_age_ns: int
    duplicate_ns: int
    repeated_ns: int
    collar_period_ns: int

    def quantity(self, lots: int) -> float:
        """Return lots in units, for denials."""
        return lots * self.quantity_step


def rules_under(bundle: Mapping[str, float], limits: OrderLimits, instrument: Instrument) -> OrderRules | None:
    """Return the rules of limits that a bundle makes stricter; None where the bundle's can't be understood."""
    try:
        return compile_rules(stricter(limits, bundle_limits(bundle)), instrument)
    except SettingsError:
        return None


def compile_rules(limits: OrderLimits, instrument: Instrument) -> OrderRules:
    """Return limits in the steps of an instrument, rounded to the strict side."""
    return OrderRules(
        limits=limits,
        quantity_step=instrument.quantity_step,
        nanos_per_tick_lot=instrument.nanos_per_tick_lot,
        min_lots=-_whole_lots(-limits.min_order_quantity, instrument),
        max_lots=_at_most(limits.max_order_quantity, instrument),
        min_value=round(limits.min_order_value * NANO),
        max_value=round(limits.max_order_value * NANO),
        max_position=_at_most(limits.max_position, instrument),
        max_gross=round(limits.max_gross_exposure * NANO),
        max_net=round(limits.max_net_exposure * NANO),
        collar=_part(limits.price_collar_bps),
        collar_period=_part(limits.price_collar_period_bps),
        max_age_ns=limits.max_reference_age_ms * _MILLI,
        duplicate_ns=limits.duplicate_window_ms * _MILLI,
        repeated_ns=limits.repeated_execution_window_ms * _MILLI,
        collar_period_ns=limits.price_collar_period_ms * _MILLI,
    )


def _part(basis_points: float) -> Ratio:
    """Return the decimal number that was meant as numerator and denominator: small ones compare fast."""
    return (Fraction(repr(float(basis_points))) / _BPS).as_integer_ratio()


def _at_most(quantity: float | None, instrument: Instrument) -> int | None:
    return None if quantity is None else _whole_lots(quantity, instrument)


def _whole_lots(quantity: float, instrument: Instrument) -> int:
    """Return the lots that fit into a quantity; a number on the grid is not lost to its binary form."""
    lots = quantity / instrument.quantity_step
    return int((lots + abs(lots) * _SLACK + _SLACK) // 1)
