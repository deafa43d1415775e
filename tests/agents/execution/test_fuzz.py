"""Whatever stands on the topics, a shard goes on: it refuses what makes no sense and decides the next good record."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from agents.execution.directives import Directives
from agents.execution.journal import Journal
from agents.execution.shard import Shard
from agents.execution.shard.state import StateUnreadable, decode_state, state_digest
from bundles.features import Feature, FeatureSpec, Observer
from bundles.features.library import KINDS
from messages import (
    TOPICS,
    Bar,
    Checkpoint,
    DecisionBatch,
    ExecutionReport,
    LoggedStep,
    Observation,
    Order,
    Quote,
    Record,
    Trade,
    decode,
)
from messages.codec import UnknownMessage
from messages.control import ControlMessage
from messages.decisions import ControlApplied
from messages.errors import Refused
from tests.builders import START_NS, Scripted, bundle, quote, ready_inputs, record, report, shard, step_of
from tests.fuzzing import FAMILY, FORMS, Case, Form, family, run_cases, valid

INPUTS = 4_000
MARKET = {kind.__name__: kind for kind in (Quote, Trade, Bar, Observation)}


EVERY_FEATURE = Observer(
    FeatureSpec(
        features=tuple(
            Feature(name=name, params=params)
            for name, kind in KINDS.items()
            for params in ([{key: 2} for key in kind.params] or [{}])
        )
    )
)


def new_shard() -> Shard:
    """Return a shard that trades on every feature, with enough quotes behind it."""
    serving = msgspec.structs.replace(bundle(Scripted(2.0, 0.0, 1.0)), observer=EVERY_FEATURE)
    target = shard(serving)
    step(target, [], inputs=ready_inputs())
    step(target, [record(quote(), index) for index in range(EVERY_FEATURE.spec.min_ticks)])
    return target


def step(
    target: Shard, market: list[Record], *, reports: list[Record] | None = None, inputs: tuple[Any, ...] = ()
) -> LoggedStep:
    return target.step(step_of(target, market, *inputs, reports=reports, at_ns=START_NS), market, reports or [])


def check_still_works(target: Shard, logged: list[LoggedStep]) -> None:
    """Everything that came of it can be logged and read back, kept and restored, and the next quote is decided."""
    journal = Journal(partition=0, epoch=0, next_step=0)
    for one in logged:
        journal.add(one)
    batch = decode("decisions", journal.batch(entry for group in journal.flushable() for entry in group))
    assert isinstance(batch, DecisionBatch)
    last = step(target, [record(quote(), target.market_to)])
    assert last.decisions[0].outcome != "refused"
    state = target.snapshot()
    restored = shard()
    restored.restore(
        Checkpoint(
            partition=0,
            epoch=0,
            n=target.n,
            clock_ns=target.clock_ns,
            market_to=target.market_to,
            ring_from=0,
            reports_to=target.reports_to,
            orders_to=0,
            decisions_to=0,
            state=state,
            digest=state_digest(state),
        )
    )
    assert restored.snapshot() == state


def of_x(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "instrument": "X"}


def raw(value: bytes, form: Form, offset: int, topic: str = "market") -> Record:
    return Record(
        topic=topic,
        partition=0,
        offset=offset,
        timestamp_ms=START_NS // 1_000_000,
        key=b"X",
        value=value,
        headers=form.headers,
    )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("kind", MARKET)
def test_no_market_record_stops_a_shard(kind: str, form: Form) -> None:
    def check(case: Case) -> int:
        target = new_shard()
        logged = []
        for value in family(form, case):
            logged.append(step(target, [raw(value, form, target.market_to)]))
            logged.append(step(target, [record(quote(), target.market_to)]))
        check_still_works(target, logged)
        return len(logged) // 2

    assert run_cases(valid(MARKET[kind]).map(of_x), check, inputs=INPUTS // 2) >= 2_000


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_no_report_stops_a_shard(form: Form) -> None:
    def check(case: Case) -> int:
        target = new_shard()
        order = step(target, [record(quote(), target.market_to)]).orders[0]
        assert isinstance(order, Order)
        fields = {**case.fields, "order_id": order.order_id}
        logged = []
        for value in family(form, case._replace(fields=fields)):
            logged.append(step(target, [], reports=[raw(value, form, target.reports_to, "reports")]))
            logged.append(step(target, [record(quote(), target.market_to)]))
        step(target, [], reports=[record(report(order), target.reports_to, topic="reports")])
        check_still_works(target, logged)
        return len(logged) // 2

    assert run_cases(valid(ExecutionReport).map(of_x), check, inputs=INPUTS) >= 2_000


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_damaged_state_is_read_or_refused_with_its_error(form: Form) -> None:
    target = new_shard()
    step(target, [record(quote(), target.market_to)])
    state = msgspec.json.decode(target.snapshot())

    def check(case: Case) -> int:
        for value in family(form, case):
            with suppress(StateUnreadable):
                decode_state(value)
        return FAMILY

    assert decode_state(form.pack(state)) == decode_state(target.snapshot())
    assert run_cases(st.just(state), check, inputs=INPUTS) >= 2_000


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_no_record_of_control_stops_a_shard_or_the_fold(form: Form) -> None:
    def check(case: Case) -> int:
        target, directives, checked = new_shard(), Directives(), 0
        logged = []
        for offset, value in enumerate(family(form, case), start=100):
            directives.apply(raw(value, form, offset, "control"))
            checked += 1
            try:
                message = decode("control", value, form.headers)
            except Refused:
                continue
            if not isinstance(message, UnknownMessage):
                assert isinstance(message, ControlMessage)
                logged.append(step(target, [], inputs=(ControlApplied(offset=offset, message=message),)))
                logged.append(step(target, [record(quote(), target.market_to)]))
        check_still_works(target, logged)
        return checked

    controls = st.one_of([valid(kind).map(of_x) for kind in TOPICS["control"].messages])
    assert run_cases(controls, check, inputs=INPUTS) >= 2_000
