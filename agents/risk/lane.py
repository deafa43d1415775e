"""What the gate keeps of one strategy in one instrument, so that a check looks it up once."""

from collections.abc import Mapping

from agents.risk.order_rules import OrderRules
from agents.risk.windows import Executions, Extremes

Content = tuple[str, int, int | None]


class Lane:
    """One strategy in one instrument: the rules that hold for it, and when it sent what last, oldest first.

    `rules` are the file's, `plain`, made stricter by `bundle_limits`; None when those can't be understood. The mids of
    the period, `references`, are the instrument's, whoever sent the orders.
    """

    __slots__ = ("bundle_limits", "contents", "executions", "plain", "references", "rules")

    def __init__(self, plain: OrderRules, references: Extremes) -> None:
        self.plain = plain
        self.bundle_limits: Mapping[str, float] | None = None
        self.rules: OrderRules | None = plain
        self.contents: dict[Content, int] = {}
        self.executions = Executions()
        self.references = references
