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
Offset = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]


class ActionError(Refused):
    """Raised when an action can't be turned into a position, or a mapping makes no sense."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"action: {detail}; no order follows from it")
        self.detail = detail


class ActionMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an action means.

    `levels`: the action is an index into `levels`, the wanted fractions of `max_position` (units, > 0); null: keep the
    position. With `limit_offsets` it is two indices: (level, offset).
    `continuous`: the action is the fraction itself, from -1 (fully short) to 1 (fully long); beyond, it is clipped.
    `hybrid`: the action is (index into `limit_offsets`, fraction).
    Changes of the position smaller than `dead_band` (units) are not made; no decision changes it by more than
    `max_change` (units; null: no bound). `limit_offset_ticks` is the price of every order when `order_type` is `limit`:
    price steps from the touch that the order would take, away from it into the book when positive. `limit_offsets` are
    the ones that the policy chooses from, null: a market order; then neither `order_type` nor `limit_offset_ticks` is
    given. `time_in_force` is that of limit orders; market orders are IOC. The policy is asked at every
    `decide_every`-th good quote (or bar) of an instrument; at a trade only when one before it was due and could not be
    decided: conflated, stale, or warming up.
    """

    kind: Literal["levels", "continuous", "hybrid"]
    max_position: Annotated[float, Meta(gt=0)]
    levels: tuple[SignedFraction | None, ...] = (-1.0, 0.0, 1.0)
    dead_band: Annotated[float, Meta(ge=0)] = 0.0
    max_change: Annotated[float, Meta(gt=0)] | None = None
    decide_every: Annotated[int, Meta(ge=1)] = 1
    order_type: OrderType = "market"
    time_in_force: TimeInForce = "IOC"
    limit_offset_ticks: Offset = 0
    limit_offsets: tuple[Offset | None, ...] = ()

    @property
    def choices(self) -> tuple[int, ...]:
        """Return how many choices each index of an action has; the indices stand first."""
        levels = (len(self.levels),) if self.kind == "levels" else ()
        offsets = (len(self.limit_offsets),) if self.kind == "hybrid" or self.limit_offsets else ()
        return levels + offsets

    @property
    def size(self) -> int:
        """Return how many values an action has: its indices, and the fraction where that is no index."""
        return len(self.choices) + (self.kind != "levels")

    @property
    def may_rest(self) -> bool:
        """Return whether an order may rest in the book."""
        is_limit = self.order_type == "limit" or any(offset is not None for offset in self.limit_offsets)
        return is_limit and self.time_in_force in ("GTC", "GTX")

    def check_consistent(self) -> None:
        """Raise ActionError when the parts contradict each other."""
        if self.kind == "hybrid" and not self.limit_offsets:
            raise ActionError("is hybrid and has no limit_offsets to choose from; name some, or make it continuous")
        if self.kind == "continuous" and self.limit_offsets:
            raise ActionError("is continuous and can't choose from limit_offsets; make it hybrid")
        if self.limit_offsets and (self.order_type != "market" or self.limit_offset_ticks):
            raise ActionError("has limit_offsets, and order_type or limit_offset_ticks; leave these out")

    def fraction(self, action: tuple[float, ...]) -> float | None:
        """Return the wanted fraction of `max_position`; None: whatever it is now.

        Raises ActionError when the action isn't as many finite numbers as it should be, or is no index of a level or
        an offset.
        """
        if self.limit_offsets:
            value = self._beside_offset(action)
        elif len(action) != 1:
            raise ActionError(f"has {len(action)} values, must have 1")
        else:
            value = action[0]
        if self.kind == "levels":
            return self.levels[_index(value, len(self.levels))]
        if not math.isfinite(value):
            raise ActionError(f"is {value}, must be finite")
        return -1.0 if value < -1.0 else min(value, 1.0)

    def _beside_offset(self, action: tuple[float, ...]) -> float:
        """Return the value that is no offset, when the offset is one."""
        if len(action) != 2:
            raise ActionError(f"has {len(action)} values, must have 2")
        first, second = action
        if self.kind == "levels":
            _index(second, len(self.limit_offsets))
            return first
        _index(first, len(self.limit_offsets))
        return second

    def limit_offset(self, action: tuple[float, ...] | None) -> int | None:
        """Return the price of the order that follows from an action, in ticks from the touch; None: a market order.

        Without an action, as a person's override has none, it is the mapping's own, and a market order where the policy
        would choose. Raises ActionError as `fraction` does.
        """
        if not self.limit_offsets:
            return self.limit_offset_ticks if self.order_type == "limit" else None
        if action is None:
            return None
        return self.limit_offsets[_index(action[1 if self.kind == "levels" else 0], len(self.limit_offsets))]

    def to_target_lots(self, action: tuple[float, ...], *, quantity_step: float, current_lots: int) -> int:
        """Return the wanted position in lots of `quantity_step` (units), given the present one.

        Fractions of a lot are cut off toward zero. Raises ActionError as `fraction` does, and when `max_position` is
        more lots than are counted exactly.
        """
        wanted = self.fraction(action)
        if wanted is None:
            return current_lots
        whole, least, most = _scale(self.max_position, self.dead_band, self.max_change, quantity_step)
        exact = wanted * whole
        target = int(exact)
        # A product that misses a whole lot by rounding alone is that lot.
        if target != exact and abs(exact - (nearest := round(exact))) <= _STEP_TOLERANCE * max(1.0, abs(exact)):
            target = nearest
        change = target - current_lots
        if -least < change < least:
            return current_lots
        if most is not None and not -most <= change <= most:
            return current_lots + (most if change > 0 else -most)
        return target


def _index(value: float, choices: int) -> int:
    # NaN and infinity fail the comparisons, before int() would.
    if 0 <= value < choices and (index := int(value)) == value:
        return index
    if not math.isfinite(value):
        raise ActionError(f"is {value}, must be finite")
    raise ActionError(f"is {value:g}, must be a whole number from 0 to {choices - 1}")


@lru_cache(maxsize=256)
def _scale(
    max_position: float, dead_band: float, max_change: float | None, quantity_step: float
) -> tuple[int, int, int | None]:
    """Return, in lots, the largest position, the smallest change that is made, and the largest."""
    whole = math.floor(_lots(max_position, quantity_step))
    if whole > MAX_LOTS:
        raise ActionError(f"is a part of {max_position:g} units, more than 2^53 lots of {quantity_step:g}")
    most = None if max_change is None else math.floor(_lots(max_change, quantity_step))
    return whole, math.ceil(_lots(dead_band, quantity_step)), most


def _lots(quantity: float, quantity_step: float) -> Fraction:
    """Return the lots in `quantity`, exact in decimal."""
    if not (quantity_step > 0 and math.isfinite(quantity_step) and math.isfinite(quantity)):
        raise ActionError(f"{quantity} in steps of {quantity_step} is no number of lots")
    return Fraction(repr(float(quantity))) / Fraction(repr(float(quantity_step)))
