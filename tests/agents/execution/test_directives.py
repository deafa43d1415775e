"""What `control` means for a shard: what it is given, what is staged for it, and what stays loaded."""

from agents.execution.directives import Directives
from agents.execution.shard import Shard
from messages import Activate, Halt, Record, Rollout, Shadow, control_key, encode
from messages.control import ControlMessage
from messages.decisions import BundleActivated, BundleShadowed, StepInput
from tests.agents.execution.stepping import LONG, advance
from tests.builders import Scripted, bundle, ready_inputs, shard

A, B, C = "a" * 64, "b" * 64, "c" * 64


def rollout(sha256: str, expects: int) -> Rollout:
    return Rollout(
        strategy="s", bundle_id=sha256[:4], uri=f"file:///{sha256[0]}", sha256=sha256, expects=expects, ts=0, who="o"
    )


def activate(sha256: str, expects: int) -> Activate:
    return Activate(strategy="s", instrument="X", bundle_id=sha256[:4], sha256=sha256, expects=expects, ts=0, who="o")


def shadow(sha256: str | None, expects: int) -> Shadow:
    named = {} if sha256 is None else {"bundle_id": sha256[:4], "uri": "file:///s", "sha256": sha256}
    return Shadow(strategy="s", instrument="X", expects=expects, ts=0, who="o", **named)


def after(*history: ControlMessage) -> Directives:
    """Directives that have read these, from offset 0."""
    directives = Directives()
    for offset, message in enumerate(history):
        directives.apply(_record(offset, message))
    return directives


def _record(offset: int, message: ControlMessage) -> Record:
    key = control_key(message).encode()
    return Record(topic="control", partition=0, offset=offset, timestamp_ms=0, key=key, value=encode(message))


def given(directives: Directives, target: Shard, *staged: str) -> tuple[StepInput, ...]:
    """What the shard is given, with it applied."""
    inputs = directives.inputs_for(target, dict.fromkeys(staged))
    advance(target, [], *inputs)
    return inputs


def fresh() -> Shard:
    return shard(*(bundle(Scripted(LONG), sha256=digest) for digest in (A, B, C)))


def test_what_is_staged_is_given_once_and_what_is_not_waits() -> None:
    directives, target = after(rollout(A, -1), activate(A, -1), shadow(B, -1)), fresh()
    assert given(directives, target) == ()
    (active,) = given(directives, target, A)
    assert isinstance(active, BundleActivated)
    (beside,) = given(directives, target, A, B)
    assert isinstance(beside, BundleShadowed)
    assert (beside.offset, beside.sha256) == (2, B)
    assert given(directives, target, A, B) == ()


def test_a_shadow_that_ended_is_ended_at_who_still_has_it_and_at_nobody_else() -> None:
    target = fresh()
    given(after(shadow(B, -1)), target, B)
    over = after(shadow(B, -1), shadow(None, 0))
    (end,) = given(over, target, B)
    assert isinstance(end, BundleShadowed)
    assert (end.offset, end.sha256) == (1, None)
    assert given(over, target, B) == ()
    assert given(over, fresh(), B) == ()


def test_who_has_read_less_of_control_than_the_shard_takes_nothing_back() -> None:
    target = fresh()
    given(after(shadow(B, -1), shadow(C, 0)), target, B, C)
    assert given(after(), target, B, C) == ()
    assert given(after(shadow(B, -1)), target, B, C) == ()
    assert target.desks["X"].shadow is not None
    assert target.desks["X"].shadow.sha256 == C


def test_a_bundle_is_wanted_by_what_names_it_where_it_is_and_by_what_names_it_later() -> None:
    directives = after(rollout(A, -1), shadow(B, -1))
    assert [wanted.uri for wanted in directives.to_stage()] == ["file:///a", "file:///s"]
    found = directives.wanted_by(activate(A, -1))
    assert found is not None
    assert found.uri == "file:///a"
    assert directives.wanted_by(activate(C, -1)) is None
    assert directives.wanted_by(shadow(None, 1)) is None
    assert directives.wanted_by(Halt(scope="portfolio", level="halted", writer="r", reason="t", ts=0)) is None


def test_in_use_is_what_control_may_ask_for_at_once_and_what_a_shard_still_holds() -> None:
    target = fresh()
    advance(target, [], *ready_inputs())
    directives = after(rollout(B, -1), activate(B, -1), rollout(C, 0), activate(C, 1))
    assert directives.in_use([]) == {B, C}
    assert directives.in_use([target]) == {A, B, C}
    later = after(rollout(B, -1), activate(B, -1), rollout(C, 0), activate(C, 1), activate(B, 3), activate(C, 4))
    assert later.in_use([]) == {B, C}
