"""Consumers are killed and come back, replicas join and leave: every record is decided exactly once, by somebody."""

import pytest

from tests.drills.drill import NewDrill
from tests.drills.fleet import ECHOES, REPLICAS
from tests.drills.watch import owns

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]


def test_a_consumer_is_killed_and_started_again_and_again(new_drill: NewDrill) -> None:
    with new_drill("consumer-killed", starts_processes=True) as drill:
        for number in range(drill.form.consumer_kills):
            for name in (REPLICAS[0], ECHOES[0]):
                drill.fleet.kill(name)
                drill.fleet.start(name)
            drill.expect_recovery(owns(REPLICAS[0]), what=f"restart {number} of {REPLICAS[0]}")
    assert not drill.problems, "\n".join(drill.problems)


def test_two_replicas_join_and_leave_again_and_again(new_drill: NewDrill) -> None:
    with new_drill("join-and-leave", starts_processes=True) as drill:
        for number in range(drill.form.hand_overs):
            names = REPLICAS[number % 2], ECHOES[number % 2]
            for name in names:
                drill.fleet.leave(name)
            drill.expect_recovery(what=f"{names[0]} left, {number}", without=names[0])
            for name in names:
                drill.fleet.start(name)
            drill.expect_recovery(owns(names[0]), what=f"{names[0]} joined, {number}")
    assert not drill.problems, "\n".join(drill.problems)
