"""How much of the portfolio's exposure limits each shard may use, and when that moves. Pure.

Shares are whole millionths of the limit, so that their sum can be held to one exactly, and a lower limit lowers all of
them in one record. At the start every partition has an equal share. Nobody has more than what all others surely leave:
a share that shrinks counts until the shard's log holds the shrink, so that every later owner of the shard knows it too.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from agents.errors import SettingsError

WHOLE = 1_000_000
SECTION = "shares"
Budget = Literal["gross", "net"]
BUDGETS: tuple[Budget, ...] = ("gross", "net")

# Per cent of a share that are in use: above _HUNGRY it asks for more, below _AIM it can give; a move ends at _AIM, so
# that use has to rise by a third before what was given is asked back.
_HUNGRY, _AIM = 80, 60
_LEAST_MOVE = WHOLE // 200  # what is less is not worth a record that is kept for ever
_KEPT = 4  # a shard with instruments keeps at least this part (1/4) of its first share
_GRID = 1e-6  # of a millionth
_KEY = re.compile(r"shares\.(0|[1-9][0-9]{0,3})\.(gross|net)")


class Shares(Struct, frozen=True, kw_only=True):
    """Millionths of portfolio.max_gross_exposure and portfolio.max_net_exposure, by partition."""

    gross: tuple[int, ...]
    net: tuple[int, ...]

    def of(self, budget: Budget) -> tuple[int, ...]:
        """Return the shares of one of the two limits."""
        return self.gross if budget == "gross" else self.net

    def changed(self, changes: Mapping[str, float]) -> "Shares":
        """Return the shares with `shares.PARTITION.gross` and `.net` replaced by fractions of the limit.

        Raises SettingsError, and then none is changed: no such key, no whole millionth, or a sum above one.
        """
        found = {budget: list(self.of(budget)) for budget in BUDGETS}
        for key, fraction in changes.items():
            number, budget = _parsed(key, len(self.gross))
            millionths = fraction * WHOLE
            if not 0 <= millionths <= WHOLE or abs(millionths - round(millionths)) > _GRID:
                raise SettingsError(f"limits change {key}", f"{fraction} is no fraction from 0 to 1 in millionths")
            found[budget][number] = round(millionths)
        for budget, parts in found.items():
            if sum(parts) > WHOLE:
                raise SettingsError("limits change shares", f"the {budget} shares add up to {sum(parts) / WHOLE:g}")
        return Shares(gross=tuple(found["gross"]), net=tuple(found["net"]))


def first_shares(partitions: int) -> Shares:
    """Return equal shares. They depend on the number of partitions alone, so that no replica can see others."""
    equal = (WHOLE // partitions,) * partitions
    return Shares(gross=equal, net=equal)


def share_key(partition: int, budget: Budget) -> str:
    """Return the key of a share in a change of limits."""
    return f"{SECTION}.{partition}.{budget}"


class Use(Struct, frozen=True, kw_only=True):
    """What a shard has told: all in force after the records of `control` before `control_to`.

    `gross`, `net`: money in use with all open orders filled. `starved`: the budgets whose share has denied an order.
    """

    control_to: int
    gross: float = 0.0
    net: float = 0.0
    starved: frozenset[Budget] = frozenset()

    def of(self, budget: Budget) -> float:
        """Return the money in use of one of the two limits."""
        return self.gross if budget == "gross" else self.net


class Standing(Struct, frozen=True, kw_only=True):
    """One shard when shares are planned, in millionths.

    `share`: what `control` says. `enforceable`: the most that any owner may still go by. `used` is None as long as
    nothing was heard; `is_silent`: nothing for a while. `least`: what it always keeps.
    """

    share: int
    enforceable: int
    used: int | None
    is_starved: bool
    least: int
    first: int
    is_silent: bool = False

    @property
    def is_shrinking(self) -> bool:
        """Whether it was asked to give, and may not know it yet."""
        return self.enforceable > self.share

    @property
    def bound(self) -> int:
        """What the others must leave to it."""
        return max(self.enforceable, self.used or 0)

    @property
    def wanted(self) -> int:
        """The share that it should have: its own unless it uses nearly all of it."""
        if self.used is None or not (self.is_starved or self.used * 100 > self.share * _HUNGRY):
            return self.share
        doubled = max(2 * self.share, self.first) if self.is_starved else 0
        return min(WHOLE, max(self.share, _comfortable(self.used), doubled))

    @property
    def spare(self) -> int:
        """What it can give and still have room. A starved one keeps its first share."""
        if self.used is None or self.is_silent:
            return 0
        return max(0, self.share - max(self.first if self.is_starved else self.least, _comfortable(self.used)))


def standings(
    history: Sequence[tuple[int, Sequence[int]]],
    uses: Mapping[int, Use],
    *,
    budget: Budget,
    limit: float,
    traded: Collection[int],
    silent: Collection[int] = (),
) -> list[Standing]:
    """Return where each shard stands.

    `history`: (first offset of `control` after it, shares then), oldest first, from before the oldest use on. `limit`:
    money, what the whole is now. `traded`: the partitions with instruments; `silent`: those not heard for a while.
    """
    shares = history[-1][1]
    first = WHOLE // len(shares)
    found = []
    for number, share in enumerate(shares):
        use = uses.get(number)
        control_to = 0 if use is None else use.control_to
        # The last entry at or before what it has applied is in force there; each later one comes, sooner or later.
        later = [then[number] for offset, then in history if offset > control_to]
        known = next(
            (then[number] for offset, then in reversed(history) if offset <= control_to), history[0][1][number]
        )
        found.append(
            Standing(
                share=share,
                enforceable=max(known, *later) if later else known,
                used=None if use is None else -int(-use.of(budget) * WHOLE // limit),
                is_starved=use is not None and budget in use.starved,
                least=first // _KEPT if number in traded else 0,
                first=first,
                is_silent=number in silent,
            )
        )
    return found


def plan(shards: Sequence[Standing]) -> dict[int, int]:
    """Return the shares to write next, by partition, in millionths; empty: leave all as it is.

    Whatever is granted is free already: neither in use nor enforceable by anybody else. Where that is too little,
    those that use little are asked to give; what they give is granted when it is free. Nobody is asked while another
    is shrinking.
    """
    changes: dict[int, int] = {}
    free = WHOLE - sum(shard.bound for shard in shards)
    missing = 0
    hungry = sorted(
        (number for number, shard in enumerate(shards) if shard.wanted > shard.share),
        key=lambda number: (shards[number].share, number),
    )
    for number in hungry:
        shard = shards[number]
        granted = min(shard.wanted, max(shard.share, shard.bound + free))
        if granted - shard.share >= _LEAST_MOVE or granted == shard.wanted:
            changes[number] = granted
            free -= max(0, granted - shard.bound)
            missing += shard.wanted - granted
        else:
            missing += shard.wanted - shard.share
    if missing < _LEAST_MOVE or any(shard.is_shrinking and not shard.is_silent for shard in shards):
        return changes
    for number in sorted(range(len(shards)), key=lambda number: (-shards[number].spare, number)):
        given = min(shards[number].spare, missing)
        if given < _LEAST_MOVE:
            break
        changes[number] = shards[number].share - given
        missing -= given
    return changes


def _comfortable(used: int) -> int:
    return -(-used * 100 // _AIM)


def _parsed(key: str, partitions: int) -> tuple[int, Budget]:
    found = _KEY.fullmatch(key)
    if found is None:
        raise SettingsError(f"limits change {key}", "is no `shares.PARTITION.gross` or `shares.PARTITION.net`")
    number = int(found[1])
    if number >= partitions:
        raise SettingsError(f"limits change {key}", f"there is no partition {number}, only 0 to {partitions - 1}")
    return number, "gross" if found[2] == "gross" else "net"
