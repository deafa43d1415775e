"""From what the network answers to the position that is wanted, in whole lots."""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, Struct

from messages import Refused
from messages.orders import OrderType, TimeInForce

_STEP_TOLERANCE = 1e-9
MAX_LOTS = 2**53  # beyond, floats are not exact, and soon no reader of `decisions` can hold the target

SignedFraction = Annotated[float, Meta(ge=-1.0, le=1.0)]


class ActionError(Refused):
    """Raised when an action can't be turned into a position, or a mapping makes no sense."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"action: {detail}; no order follows from it")
        self.detail = detail


class ActionMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an action means.

    `levels`: the action is an index into `levels`, the wanted fractions of `max_position` (units, > 0); null: keep the
    position.
    `continuous`: the action is the fraction itself, from -1 (fully short) to 1 (fully long); beyond, it is clipped.
    Changes of the position smaller than `dead_band` (units) are not made; no decision changes it by more than
    `max_change` (units; null: no bound). `limit_offset_ticks` from the touch, into the book when positive, is for
    limit orders. The policy is asked at every `decide_every`-th quote (or bar) of an instrument, never at a trade.
    """

    kind: Literal["levels", "continuous"]
    max_position: Annotated[float, Meta(gt=0)]
    levels: tuple[SignedFraction | None, ...] = (-1.0, 0.0, 1.0)
    dead_band: Annotated[float, Meta(ge=0)] = 0.0
    max_change: Annotated[float, Meta(gt=0)] | None = None
    decide_every: Annotated[int, Meta(ge=1)] = 1
    order_type: OrderType = "market"
    time_in_force: TimeInForce = "IOC"
    limit_offset_ticks: int = 0

    def fraction(self, action: tuple[float, ...]) -> float | None:
        """Return the wanted fraction of `max_position`; None: whatever it is now.

        Raises ActionError when the action isn't one finite number, or is no index of a level.
        """
        if len(action) != 1:
            raise ActionError(f"has {len(action)} values, must have 1")
        value = action[0]
        if not math.isfinite(value):
            raise ActionError(f"is {value}, must be finite")
        if self.kind == "continuous":
            return min(max(value, -1.0), 1.0)
        index = int(value)
        if index != value or not 0 <= index < len(self.levels):
            raise ActionError(f"is {value:g}, must be a whole number from 0 to {len(self.levels) - 1}")
        return self.levels[index]

    def to_target_lots(self, action: tuple[float, ...], *, quantity_step: float, current_lots: int) -> int:
        """Return the wanted position in lots of `quantity_step` (units), given the present one.

        Fractions of a lot are cut off toward zero. Raises ActionError as `fraction` does, and when `max_position` is
        more lots than are counted exactly.
        """
        wanted = self.fraction(action)
        if wanted is None:
            return current_lots
        whole = _lots(self.max_position, quantity_step)
        if whole > MAX_LOTS:
            raise ActionError(f"is a part of {self.max_position:g} units, more than 2^53 lots of {quantity_step:g}")
        exact = wanted * whole
        # A product that misses a whole lot by rounding alone is that lot.
        target = round(exact) if abs(exact - round(exact)) <= _STEP_TOLERANCE * max(1.0, abs(exact)) else int(exact)
        change = target - current_lots
        if self.dead_band and abs(change) < _lots(self.dead_band, quantity_step, up=True):
            return current_lots
        if self.max_change is not None:
            most = _lots(self.max_change, quantity_step)
            change = min(max(change, -most), most)
        return current_lots + change


@lru_cache(maxsize=256)
def _lots(quantity: float, quantity_step: float, *, up: bool = False) -> int:
    """Return the whole lots in `quantity`, exact in decimal, rounded down unless `up`."""
    if not (quantity_step > 0 and math.isfinite(quantity_step) and math.isfinite(quantity)):
        raise ActionError(f"{quantity} in steps of {quantity_step} is no number of lots")
    lots = Fraction(repr(float(quantity))) / Fraction(repr(float(quantity_step)))
    return math.ceil(lots) if up else math.floor(lots)
