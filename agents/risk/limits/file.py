"""The limits file: what may be ordered and held, for all, for an instrument, for a strategy, and for the portfolio.

A number given for an instrument or a strategy replaces the default; where both give one, the stricter counts. A
bundle's own limits can only make it stricter still, and are denied under a code of their own.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from agents.errors import SettingsError
from agents.risk.limits.checked import checked, mapping, meant
from agents.risk.limits.strict_yaml import parse_yaml, read_yaml

Amount = Annotated[float, Meta(gt=0, lt=1e18)]
NotNegative = Annotated[float, Meta(ge=0, lt=1e18)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]
BasisPoints = Annotated[float, Meta(gt=0, le=10_000)]
Fraction = Annotated[float, Meta(gt=0, le=1)]


class OrderLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one strategy in one instrument, all of them in force. None: not limited by that number.

    Quantities in units of the instrument, values in the account currency.
    """

    max_order_quantity: Amount | None = None
    min_order_quantity: NotNegative = 0.0
    max_order_value: Amount = 100_000.0
    min_order_value: NotNegative = 0.0
    max_position: Amount | None = None
    max_gross_exposure: Amount = 1_000_000.0  # with all open orders filled, over all instruments of the shard
    max_net_exposure: Amount = 1_000_000.0
    max_open_orders: Count = 16
    price_collar_bps: BasisPoints = 100.0  # limit price, or the touch for a market order, from the mid
    price_collar_period_bps: BasisPoints = 500.0  # mid now from the mids of orders within the period
    price_collar_period_ms: Milliseconds = 60_000
    max_messages_per_s: Count = 1_000  # orders and cancels of the shard; cancels are counted, never blocked
    duplicate_window_ms: Milliseconds = 20  # equal orders closer than this are denied; 0: not checked
    max_repeated_executions: Count = 1_000  # orders in an instrument within the window; then a person is needed
    repeated_execution_window_ms: Milliseconds = 60_000
    max_reference_age_ms: Milliseconds = 5_000


class OrderLimitChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The numbers that an instrument, a strategy or a bundle sets differently; units as in OrderLimits."""

    max_order_quantity: Amount | None = None
    min_order_quantity: NotNegative | None = None
    max_order_value: Amount | None = None
    min_order_value: NotNegative | None = None
    max_position: Amount | None = None
    max_gross_exposure: Amount | None = None
    max_net_exposure: Amount | None = None
    max_open_orders: Count | None = None
    price_collar_bps: BasisPoints | None = None
    price_collar_period_bps: BasisPoints | None = None
    price_collar_period_ms: Milliseconds | None = None
    max_messages_per_s: Count | None = None
    duplicate_window_ms: Milliseconds | None = None
    max_repeated_executions: Count | None = None
    repeated_execution_window_ms: Milliseconds | None = None
    max_reference_age_ms: Milliseconds | None = None


class PortfolioLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the Risk agent watches over all shards. Passing one writes a Halt, or an Alert where it says so."""

    max_drawdown: Fraction = 0.2  # of the highest equity so far: halted
    max_daily_loss: Amount = 50_000.0  # currency, since the day's first equity: halted
    max_gross_exposure: Amount = 2_000_000.0  # currency: reducing
    max_net_exposure: Amount = 2_000_000.0  # currency: reducing
    max_loss_streak: Count = 20  # losing round trips in a row: alert
    max_reject_ratio: Fraction = 0.5  # of the last reject_window finished orders: alert
    reject_window: Count = 100
    max_market_age_ms: Milliseconds = 60_000  # an instrument with a position and no market data: alert
    position_confirmations: Count = 2  # heartbeats in a row of another position than Risk's: instrument reducing
    max_decision_p99_us: Amount = 50_000.0  # tick in to orders out, of a shard between two heartbeats: alert
    slow_heartbeats: Count = 5  # so many in a row above it
    max_saturated_ratio: Fraction = 0.95  # of a shard's last saturation_window decisions, actions at a bound: alert
    saturation_window: Count = 1_000
    day_ends_at_s: Annotated[int, Meta(ge=0, lt=86_400)] = 0  # seconds after 00:00 UTC


# Larger numbers are stricter here; everywhere else smaller ones are.
LARGER_IS_STRICTER = frozenset(
    {
        "min_order_quantity",
        "min_order_value",
        "price_collar_period_ms",
        "duplicate_window_ms",
        "repeated_execution_window_ms",
    }
)
_REMEMBERED = frozenset(
    {"price_collar_period_ms", "duplicate_window_ms", "max_repeated_executions", "repeated_execution_window_ms"}
)
# Shorter than these is no age and no period of trading, but seconds that are taken for milliseconds; 0 is meant.
_LEAST_MS = (
    ("price_collar_period_ms", 1_000),
    ("repeated_execution_window_ms", 1_000),
    ("max_reference_age_ms", 10),
)
_LEAST_MARKET_AGE_MS = 100
_FIELDS = OrderLimits.__struct_fields__
_SomeLimits = TypeVar("_SomeLimits", OrderLimits, OrderLimitChanges)


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits file. Every default is in force unless the file says otherwise."""

    defaults: OrderLimits = OrderLimits()
    instruments: dict[str, OrderLimitChanges] = {}
    strategies: dict[str, OrderLimitChanges] = {}
    portfolio: PortfolioLimits = PortfolioLimits()

    @classmethod
    def read(cls, path: str | Path) -> "Limits":
        """Return the limits in a YAML file. Raises SettingsError that names the key and what is wrong with it."""
        where = f"limits file {path}"
        return cls.convert(read_yaml(path, where=where), where=where)

    @classmethod
    def parse(cls, text: str, *, where: str = "limits") -> "Limits":
        """Return the limits in a YAML text; errors as `read`."""
        return cls.convert(parse_yaml(text, where=where), where=where)

    @classmethod
    def convert(cls, raw: object, *, where: str = "limits") -> "Limits":
        """Return the limits in plain dicts and numbers, None for none; errors as `read`."""
        sections = mapping({} if raw is None else raw, where=where)
        sections = {section: content for section, content in sections.items() if content is not None}
        for section in sections:
            if section not in cls.__struct_fields__:
                raise SettingsError(where, f"{section} is no known section{meant(section, cls.__struct_fields__)}")
        limits = cls(
            defaults=checked(sections.get("defaults", {}), OrderLimits, where=where, path="defaults"),
            instruments=_changes(sections, "instruments", where),
            strategies=_changes(sections, "strategies", where),
            portfolio=checked(sections.get("portfolio", {}), PortfolioLimits, where=where, path="portfolio"),
        )
        _check_periods(limits, where=where)
        for name in ("", *limits.instruments):
            for strategy in ("", *limits.strategies):
                if why := _contradiction(limits.for_pair(strategy, name)):
                    raise SettingsError(where, f"strategy {strategy or 'any'}, instrument {name or 'any'}: {why}")
        return limits

    def for_pair(self, strategy: str, instrument: str) -> OrderLimits:
        """Return the limits in force for a strategy in an instrument."""
        overrides = [
            changes
            for changes in (self.instruments.get(instrument), self.strategies.get(strategy))
            if changes is not None
        ]
        if not overrides:
            return self.defaults
        return msgspec.structs.replace(self.defaults, **_strictest(overrides))

    def within(self, *, gross: float, net: float) -> "Limits":
        """Return the limits with every exposure limit of orders at most these, in the currency; they may be 0."""
        caps = {"max_gross_exposure": gross, "max_net_exposure": net}
        return msgspec.structs.replace(
            self,
            defaults=_capped(self.defaults, caps),
            instruments={name: _capped(changes, caps) for name, changes in self.instruments.items()},
            strategies={name: _capped(changes, caps) for name, changes in self.strategies.items()},
        )

    def changed(self, changes: Mapping[str, float]) -> "Limits":
        """Return the limits with numbers replaced, as `Limits` messages on `control` carry them.

        Keys are dotted: `defaults.F`, `portfolio.F`, `instruments.NAME.F`, `strategies.NAME.F` (NAME may hold dots).
        Raises SettingsError when a key or a number is impossible; then none is applied.
        """
        raw = msgspec.to_builtins(self)
        for key, value in changes.items():
            section, _, rest = key.partition(".")
            name, _, field = rest.rpartition(".")
            named = section in {"instruments", "strategies"}
            if section not in raw or not field or named != bool(name):
                raise SettingsError(
                    "limits change",
                    f"{key} is no `defaults.LIMIT`, `portfolio.LIMIT`, `instruments.NAME.LIMIT` or "
                    "`strategies.NAME.LIMIT`",
                )
            target = raw[section].setdefault(name, {}) if named else raw[section]
            target[field] = int(value) if float(value).is_integer() else value
        return Limits.convert(raw, where="limits change")


def bundle_limits(raw: Mapping[str, float], *, where: str = "bundle limits") -> OrderLimitChanges:
    """Return a bundle's limits as numbers of the same names.

    Raises SettingsError for unknown names, bad values, and what the gate remembers: that outlasts the bundle, so the
    file alone sets it.
    """
    if remembered := sorted(_REMEMBERED & raw.keys()):
        raise SettingsError(where, f"{', '.join(remembered)}: only the limits file can set it; leave it out")
    return checked(raw, OrderLimitChanges, where=where)


def stricter(limits: OrderLimits, changes: OrderLimitChanges) -> OrderLimits:
    """Return `limits` made stricter where `changes` asks for it, never looser."""
    return msgspec.structs.replace(limits, **_strictest([limits, changes]))


def _capped(limits: _SomeLimits, caps: Mapping[str, float]) -> _SomeLimits:
    own = {field: getattr(limits, field) for field in caps}
    lower = {field: min(value, caps[field]) for field, value in own.items() if value is not None}
    return msgspec.structs.replace(limits, **lower)


def _strictest(overrides: Iterable[OrderLimits | OrderLimitChanges]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for changes in overrides:
        for field in _FIELDS:
            value = getattr(changes, field)
            if value is not None:
                pick = max if field in LARGER_IS_STRICTER else min
                found[field] = value if field not in found else pick(found[field], value)
    return found


def _changes(sections: Mapping[str, object], section: str, where: str) -> dict[str, OrderLimitChanges]:
    named = mapping(sections.get(section, {}), where=where, path=section)
    return {name: checked(raw, OrderLimitChanges, where=where, path=f"{section}.{name}") for name, raw in named.items()}


def _check_periods(limits: Limits, *, where: str) -> None:
    """Refuse milliseconds that must have been meant as seconds: as such they would switch the check off."""
    orders = (("defaults", limits.defaults), *limits.instruments.items(), *limits.strategies.items())
    found = [(path, field, getattr(changes, field), least) for path, changes in orders for field, least in _LEAST_MS]
    found.append(("portfolio", "max_market_age_ms", limits.portfolio.max_market_age_ms, _LEAST_MARKET_AGE_MS))
    for path, field, value, least in found:
        if value is not None and 0 < value < least:
            raise SettingsError(
                where, f"{path}.{field} is {value}: that is less than {least} ms; if seconds are meant, {value * 1000}"
            )


def _contradiction(limits: OrderLimits) -> str | None:
    """Return what makes every order impossible; None: nothing does."""
    least, most = limits.min_order_quantity, limits.max_order_quantity
    if most is not None and least > most:
        return f"min_order_quantity {least:g} is above max_order_quantity {most:g}: nothing could be ordered"
    if limits.max_position is not None and least > limits.max_position:
        return f"min_order_quantity {least:g} is above max_position {limits.max_position:g}: nothing could be ordered"
    for name in ("max_order_value", "max_gross_exposure", "max_net_exposure"):
        if limits.min_order_value > getattr(limits, name):
            return (
                f"min_order_value {limits.min_order_value:g} is above {name} {getattr(limits, name):g}: "
                "nothing could be ordered"
            )
    return None
