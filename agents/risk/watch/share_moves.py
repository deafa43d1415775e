"""The limits in force as the Risk agent follows them, and which shares it moves next. Pure."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from agents.errors import SettingsError
from agents.risk.config import ShareConfig
from agents.risk.limits.file import Limits
from agents.risk.limits.in_force import LimitsInForce
from agents.risk.limits.shares import BUDGETS, WHOLE, Budget, Shares, Use, plan, share_key, standings
from messages import Heartbeat
from messages import Limits as LimitsMessage
from messages.bus.partitioner import partition_of

_REMEMBERED = 64  # moves that some shard may not have logged yet


class _Heard(Struct, frozen=True, kw_only=True):
    use: Use
    at_ns: int


class ShareMoves:
    """Follows `Limits` on `control` and Execution's heartbeats. `instruments`: their names.

    What it knows it has from the topics, so that a restart loses nothing, and two of them do no harm: a proposal
    counts only if no other was written since what it was made from.
    """

    def __init__(
        self,
        limits: Limits,
        instruments: Iterable[str],
        config: ShareConfig,
        agent_id: str,
        *,
        partitions: int,
    ) -> None:
        self._in_force = LimitsInForce(limits, partitions=partitions)
        self._traded = {partition_of(name.encode(), partitions) for name in instruments}
        self._partitions = partitions
        self._agent_id = agent_id
        self._interval_ns, self._silent_ns = config.interval_ms * 1_000_000, config.silent_ms * 1_000_000
        self._history: list[tuple[int, Shares]] = [(0, self._in_force.shares)]
        self._heard: dict[int, _Heard] = {}
        self._proposed_ns: int | None = None

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._in_force.limits

    def changed(self, offset: int, message: LimitsMessage) -> SettingsError | None:
        """Take in the valid record at `offset` of `control`; return why it changes nothing if it is impossible."""
        error = self._in_force.apply(message.changes)
        if self._in_force.shares != self._history[-1][1]:
            self._history.append((offset + 1, self._in_force.shares))
            if len(self._history) > _REMEMBERED:
                (begin, first), (_, second) = self._history[:2]
                self._history[:2] = [(begin, _larger(first, second))]
        return error

    def hear(self, beat: Heartbeat, now_ns: int) -> None:
        """Take in a heartbeat; of several owners of a shard the one counts whose log knows most."""
        for status in beat.shards:
            use = Use(
                control_to=status.control_logged_to,
                gross=status.gross_used,
                net=status.net_used,
                starved=frozenset(
                    budget
                    for budget, denials in zip(BUDGETS, (status.gross_denials, status.net_denials), strict=True)
                    if denials
                ),
            )
            known = self._heard.get(status.partition)
            if status.partition < self._partitions and (known is None or use.control_to >= known.use.control_to):
                self._heard[status.partition] = _Heard(use=use, at_ns=now_ns)
        if len(self._heard) == self._partitions:
            logged_to = min(heard.use.control_to for heard in self._heard.values())
            while len(self._history) > 1 and self._history[1][0] <= logged_to:
                del self._history[0]

    def propose(self, now_ns: int, version: int) -> LimitsMessage | None:
        """Return the next move, to be written at once; None: there is none now. `version`: the newest on `control`."""
        if self._proposed_ns is not None and now_ns - self._proposed_ns < self._interval_ns:
            return None
        changes = self._planned(now_ns)
        if not changes:
            return None
        self._proposed_ns = now_ns
        before = self._in_force.shares
        fractions = {share_key(number, budget): part / WHOLE for budget, number, part in changes}
        moved = ", ".join(
            f"{budget} {number} {before.of(budget)[number] / WHOLE:.3f} -> {part / WHOLE:.3f}"
            for budget, number, part in changes
        )
        return LimitsMessage(
            version=version + 1, changes=fractions, who=self._agent_id, reason=f"shares: {moved}", ts=now_ns
        )

    def _planned(self, now_ns: int) -> list[tuple[Budget, int, int]]:
        portfolio = self.limits.portfolio
        uses: Mapping[int, Use] = {number: heard.use for number, heard in self._heard.items()}
        silent = {number for number, heard in self._heard.items() if now_ns - heard.at_ns > self._silent_ns}
        return [
            (budget, number, part)
            for budget, limit in zip(BUDGETS, (portfolio.max_gross_exposure, portfolio.max_net_exposure), strict=True)
            for number, part in plan(
                standings(
                    [(offset, shares.of(budget)) for offset, shares in self._history],
                    uses,
                    budget=budget,
                    limit=limit,
                    traded=self._traded,
                    silent=silent,
                )
            ).items()
        ]


def _larger(one: Shares, other: Shares) -> Shares:
    """Whoever may be at either is bounded by both."""
    return Shares(
        gross=tuple(map(max, one.gross, other.gross)),
        net=tuple(map(max, one.net, other.net)),
    )
