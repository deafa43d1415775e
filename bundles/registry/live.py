"""Which bundles `control` speaks of: what trades, what traded before it, what is being rolled out, what shadows."""

from collections.abc import Iterable

from messages.control import ControlMessage
from messages.control_fold import ControlFold
from messages.errors import Refused


class LiveUnknown(Refused):
    """Raised when `control` does not say what is live, so that nothing may be removed."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"what is live is not known: {detail}; nothing was removed, check `bus` and `prefix`")
        self.detail = detail


def live_digests(control: Iterable[tuple[int, ControlMessage]]) -> frozenset[str]:
    """Return the digests in use, from all records of `control` with their offsets, from its beginning.

    Of each strategy and instrument the active bundle, the shadow, and the ones before them, of each strategy the
    rollout's target and the one before. Raises LiveUnknown when the beginning is missing.
    """
    fold = ControlFold()
    current: dict[object, str] = {}
    before: dict[object, str] = {}
    for offset, message in control:
        if not fold.apply(offset, message):
            continue
        named: dict[object, str] = {key: active.sha256 for key, active in fold.active.items()}
        named |= {("shadow", *key): shadow.sha256 for key, shadow in fold.shadows.items()}
        named |= {strategy: target.sha256 for strategy, target in fold.rollouts.items()}
        for key, digest in named.items():
            if current.get(key, digest) != digest:
                before[key] = current[key]
            current[key] = digest
    if fold.log_id is None:
        raise LiveUnknown("`control` has no beginning")
    return frozenset(current.values()) | frozenset(before.values())
