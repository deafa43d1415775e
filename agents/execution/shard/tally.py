"""What a heartbeat tells of a shard's decisions: counted beside them, no part of the state that replay compares."""

from msgspec import Struct

from agents.execution.shard.step import ServingBundle
from messages import Decision, DenialCode


class Tally(Struct, kw_only=True):
    """Counts since the last heartbeat. `decisions`: answers of live policies, of them `saturated` at a bound.

    Choices among levels have no bounds; a fraction of the largest position has. `gross_denials`, `net_denials`: orders
    that the shard's share of the portfolio's limit did not allow.
    """

    decisions: int = 0
    saturated: int = 0
    gross_denials: int = 0
    net_denials: int = 0

    def count(self, decision: Decision, bundle: ServingBundle | None) -> None:
        """Count a decision, on which this bundle was asked if it has an answer: the fraction stands last in it."""
        action = decision.action
        if action is not None and bundle is not None:
            self.decisions += 1
            if bundle.actions.kind != "levels" and not -1.0 < action[-1] < 1.0:
                self.saturated += 1
        if decision.denial is not None and decision.denial.is_share:
            if decision.denial.code is DenialCode.MAX_GROSS_EXPOSURE:
                self.gross_denials += 1
            else:
                self.net_denials += 1
