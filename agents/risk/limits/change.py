"""A change of limits as a person writes it, and what it does to those in force."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from agents.risk.limits.file import LARGER_IS_STRICTER, Limits
from agents.risk.limits.shares import SECTION
from messages import Refused

Direction = Literal["stricter", "looser", "unchanged"]


class ChangeRefused(Refused):
    """Raised when a change of limits makes no sense, or did not count."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"limits: {detail}")
        self.detail = detail


class Change(Struct, frozen=True, kw_only=True):
    """What becomes of one limit; None: not limited. Where a name had no limit of its own, `old` is the default's."""

    key: str
    old: float | None
    new: float | None
    direction: Direction


def parse_changes(texts: Iterable[str]) -> dict[str, float]:
    """Return the numbers in KEY=VALUE texts. Raises ChangeRefused, for a key that is there twice and shares, too."""
    found: dict[str, float] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        try:
            number = float(value)
        except ValueError:
            raise ChangeRefused(f"{text!r} is no KEY=NUMBER, as defaults.max_position=2.5") from None
        if not key or not equals:
            raise ChangeRefused(f"{text!r} is no KEY=NUMBER, as defaults.max_position=2.5")
        if key in found:
            raise ChangeRefused(f"{key} is there twice")
        if key.partition(".")[0] == SECTION:
            raise ChangeRefused(f"{key}: Risk moves shares, as they are used; change portfolio.max_gross_exposure")
        found[key] = number
    return found


def changes_between(before: Limits, after: Limits, keys: Iterable[str]) -> tuple[Change, ...]:
    """Return what becomes of each of the limits with these keys."""
    return tuple(_change(key, _value(before, key), _value(after, key)) for key in keys)


def _change(key: str, old: float | None, new: float | None) -> Change:
    if old == new:
        return Change(key=key, old=old, new=new, direction="unchanged")
    is_smaller = old is None or (new is not None and new < old)
    is_stricter = is_smaller is not (key.rpartition(".")[2] in LARGER_IS_STRICTER)
    return Change(key=key, old=old, new=new, direction="stricter" if is_stricter else "looser")


def _value(limits: Limits, key: str) -> float | None:
    section, _, rest = key.partition(".")
    name, _, field = rest.rpartition(".")
    found: float | None
    if section == "portfolio":
        found = getattr(limits.portfolio, field)
    elif section == "defaults":
        found = getattr(limits.defaults, field)
    else:
        own = (limits.instruments if section == "instruments" else limits.strategies).get(name)
        found = None if own is None else getattr(own, field)
        found = getattr(limits.defaults, field) if found is None else found
    return found
