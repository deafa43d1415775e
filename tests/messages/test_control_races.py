"""Who halts and who resumes at the same time: whatever the interleaving, a Halt that nobody had seen stays."""

import itertools
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from messages import Halt, Resume
from messages.control import HaltLevel
from messages.control_fold import ControlFold

SCOPES = ("portfolio", "strategy:s", "instrument:BTC")


class Action(NamedTuple):
    """What a writer does next: halt, look at `control`, or resume all that it saw when it looked last."""

    writer: str
    kind: str
    scope: str
    level: HaltLevel


actions = st.lists(
    st.builds(
        Action,
        st.sampled_from(["risk-1", "ann", "bob"]),
        st.sampled_from(["halt", "look", "resume"]),
        st.sampled_from(SCOPES),
        st.sampled_from(["reducing", "halted"]),
    ),
    max_size=30,
)


@given(actions)
def test_a_halt_ends_only_by_a_resume_whose_author_had_seen_it(history: list[Action]) -> None:
    fold, offsets = ControlFold(), itertools.count()
    seen: dict[str, tuple[int, ...]] = {}
    written: dict[int, Halt] = {}
    cleared: set[int] = set()
    for action in history:
        match action.kind:
            case "look":
                seen[action.writer] = tuple(halt.offset for halt in fold.halts.in_force())
            case "halt":
                halt = Halt(scope=action.scope, level=action.level, writer=action.writer, reason="r", ts=0)
                written[offset := next(offsets)] = halt
                fold.apply(offset, halt)
            case _:
                clears = seen.get(action.writer, ())
                cleared.update(clears)
                resume = Resume(scope=action.scope, clears=clears, who=action.writer, reason="r", ts=0)
                fold.apply(next(offsets), resume)
    for offset, halt in written.items():
        is_renewed = any(other == halt for at, other in written.items() if at > offset)
        if offset not in cleared and not is_renewed:
            assert offset in {in_force.offset for in_force in fold.halts.in_force()}
            strategy = halt.scope.removeprefix("strategy:")
            assert fold.halts.level(strategy, halt.scope.removeprefix("instrument:")) is not None


def test_of_two_interleaved_writers_no_order_of_their_records_lets_an_unseen_halt_go() -> None:
    """One looks and resumes, the other halts twice: every order of these four steps."""
    for order in set(itertools.permutations(["look", "resume", "halt", "halt"])):
        if order.index("look") > order.index("resume"):
            continue
        fold, clears = ControlFold(), tuple[int, ...]()
        unseen: set[int] = set()
        for offset, step in enumerate(order):
            match step:
                case "look":
                    clears = tuple(halt.offset for halt in fold.halts.in_force())
                    unseen -= set(clears)
                case "halt":
                    fold.apply(offset, Halt(scope="portfolio", level="halted", writer="risk-1", reason="r", ts=0))
                    unseen = {offset}  # it takes the place of the same writer's last
                case _:
                    resume = Resume(scope="portfolio", clears=clears, who="ann", reason="r", ts=0)
                    fold.apply(offset, resume)
        assert {halt.offset for halt in fold.halts.in_force()} >= unseen
