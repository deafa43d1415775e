"""Whether limits fit what is traded: names that are known, and quantities that are whole steps or more."""

from collections.abc import Collection, Mapping

from agents.errors import SettingsError
from agents.risk.instruments import Instrument
from agents.risk.limits.checked import meant
from agents.risk.limits.file import Limits
from agents.risk.order_rules import compile_rules


def check_fit(
    limits: Limits, instruments: Mapping[str, Instrument], strategies: Collection[str], *, where: str = "limits"
) -> None:
    """Raise SettingsError for a name that the settings don't know, and for limits that let no order pass.

    `instruments` and `strategies`: all that the settings know.
    """
    for section, names, known in (
        ("instruments", limits.instruments, instruments.keys()),
        ("strategies", limits.strategies, strategies),
    ):
        for name in names:
            if name not in known:
                raise SettingsError(where, f"{section}.{name} is none that the settings know{meant(name, known)}")
    for name, instrument in instruments.items():
        for strategy in ("", *limits.strategies):
            if why := _impossible(limits, strategy, instrument):
                raise SettingsError(where, f"strategy {strategy or 'any'}, instrument {name}: {why}")


def _impossible(limits: Limits, strategy: str, instrument: Instrument) -> str | None:
    own = limits.for_pair(strategy, instrument.instrument)
    try:
        rules = compile_rules(own, instrument)
    except (ValueError, OverflowError):
        return f"its limits are more steps of {instrument.quantity_step:g} than can be counted"
    step = f"quantity_step {instrument.quantity_step:g}"
    for field, value, lots in (
        ("max_order_quantity", own.max_order_quantity, rules.max_lots),
        ("max_position", own.max_position, rules.max_position),
    ):
        if value is not None and lots is not None and lots < max(1, rules.min_lots):
            least = step if rules.min_lots <= 1 else f"min_order_quantity {own.min_order_quantity:g} in steps"
            return f"{field} {value:g} is below {least}: nothing could be ordered"
    return None
