"""The way back: which Activates bring a strategy's instruments to the bundle that traded before. Pure.

Whoever reads `control` can do it, so a rollback needs no Orchestrator.
"""

from messages import Activate, Refused
from messages.control_fold import ControlFold


class NothingBefore(Refused):
    """Raised when no instrument of a strategy has had another bundle before."""

    def __init__(self, strategy: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"strategy {strategy}: no other bundle has traded before; "
            f"a bundle before the last one have {', '.join(known) or 'no strategies'}"
        )
        self.strategy, self.known = strategy, known


def rollback_of(fold: ControlFold, strategy: str, *, who: str, ts: int) -> tuple[Activate, ...]:
    """Return the records that activate again what traded before, one for each instrument that has it; `ts` in ns.

    A second rollback returns to where the first one began. Raises NothingBefore.
    """
    found = tuple(
        Activate(
            strategy=strategy,
            instrument=instrument,
            bundle_id=before.bundle_id,
            sha256=before.sha256,
            expects=fold.last_offset(f"active/{strategy}/{instrument}"),
            ts=ts,
            who=who,
        )
        for (of, instrument), before in sorted(fold.previous.items())
        if of == strategy
    )
    if not found:
        raise NothingBefore(strategy, tuple(sorted({of for of, _ in fold.previous})))
    return found
