"""The limits in force: the limits file, and what `control` has changed of it. One rule for every reader."""

from collections.abc import Mapping

from msgspec import Struct

from agents.errors import SettingsError
from agents.risk.instruments import NANO
from agents.risk.limits.file import Limits
from agents.risk.limits.shares import SECTION, WHOLE, first_shares


class Share(Struct, frozen=True, kw_only=True):
    """What one shard may use of the portfolio's exposure limits: money."""

    gross: float
    net: float


class LimitsInForce:
    """Takes the valid `Limits` of `control` in, in their order.

    `changes`: what those before have changed, as a checkpoint holds it. Raises SettingsError when the file is another
    now, with which they don't go together: neither may be dropped silently.
    """

    def __init__(self, file: Limits, *, partitions: int, changes: Mapping[str, float] | None = None) -> None:
        self.limits = file
        self.shares = first_shares(partitions)
        self.changes: dict[str, float] = {}
        if changes and (why := self.apply(changes)) is not None:
            raise SettingsError(
                "limits",
                f"the file does not go together with what `control` has changed of it ({why.detail}); the file is not "
                "the one that these changes were made to: correct it, `tickpilot limits show` names the changes",
            )

    def apply(self, changes: Mapping[str, float]) -> SettingsError | None:
        """Change numbers; or return why that is impossible: then the whole record is void, here as everywhere."""
        moved = {key: value for key, value in changes.items() if key.partition(".")[0] == SECTION}
        others = {key: value for key, value in changes.items() if key not in moved}
        try:
            shares = self.shares.changed(moved)
            limits = self.limits.changed(others) if others else self.limits
        except SettingsError as error:
            return error
        self.shares, self.limits, self.changes = shares, limits, {**self.changes, **changes}
        return None

    def share(self, partition: int) -> Share:
        """Return what a shard may use, rounded down to 1e-9."""
        portfolio, shares = self.limits.portfolio, self.shares
        return Share(
            gross=_part(portfolio.max_gross_exposure, shares.gross[partition]),
            net=_part(portfolio.max_net_exposure, shares.net[partition]),
        )

    def of_shard(self, partition: int) -> Limits:
        """Return the limits that a shard's gate enforces: no exposure limit in them is above the shard's share."""
        share = self.share(partition)
        return self.limits.within(gross=share.gross, net=share.net)


def _part(limit: float, millionths: int) -> float:
    return limit if millionths == WHOLE else int(limit * NANO) * millionths // WHOLE / NANO
