"""Replicas are killed, join, leave and stand still; whatever happens, the log of inputs determines the orders."""

import random
import time
from collections import deque

import pytest

from tests.drills.exactness.checks import claims_of, void_records
from tests.drills.exactness.drill import NewDrill
from tests.drills.exactness.fleet import PAIR

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

LONGEST_PAUSE_S = 1.5
HASTY = 0.25  # so often the next kill comes at any moment of a recovery


def test_a_replica_is_killed_at_random_moments_again_and_again(new_drill: NewDrill) -> None:
    drill = new_drill("killed")
    chance, took = random.Random(6), list[float]()
    drill.fleet.have_replicas(*PAIR)
    with drill:
        for number in range(drill.form.kills):
            drill.read_for(chance.uniform(0.0, LONGEST_PAUSE_S))
            victim = chance.choice(PAIR)
            drill.fleet.kill(victim)
            drill.fleet.start(victim)
            if chance.random() >= HASTY:
                took.append(drill.expect_trading(f"kill {number}"))
        drill.expect_trading("after the last kill")
    drill.note("kills", drill.form.kills, "")
    drill.note("kill to every shard deciding, slowest", max(took), "s")
    assert not drill.problems, "\n".join(drill.problems)


def test_replicas_join_and_leave_under_load(new_drill: NewDrill) -> None:
    drill = new_drill("scaled 2-3-1")
    fleet, names = drill.fleet, deque([*PAIR, "execution-3"])
    fleet.have_replicas(*PAIR)
    with drill:
        for number in range(drill.form.scalings):
            fleet.have_replicas(*names)
            drill.expect_trading(f"three replicas, {number}")
            fleet.have_replicas(names[0])
            drill.expect_trading(f"one replica, {number}")
            names.rotate(1)
            fleet.have_replicas(names[0], names[1])
            drill.expect_trading(f"two replicas, {number}")
    drill.note("scalings", drill.form.scalings, "")
    assert not drill.problems, "\n".join(drill.problems)


def test_a_frozen_replica_sends_nothing_when_it_thaws(new_drill: NewDrill) -> None:
    drill = new_drill("frozen")
    fleet = drill.fleet
    fleet.have_replicas(*PAIR)
    with drill:
        began_s = time.monotonic()
        frozen = fleet.freeze(PAIR[0])
        drill.expect_trading("the other replica has taken over")
        drill.note("freeze to every shard deciding", time.monotonic() - began_s, "s")
        drill.read_for(began_s + drill.form.frozen_s - time.monotonic())
        drill.note("frozen for", time.monotonic() - began_s, "s")
        void, claims = void_records(fleet.log), claims_of(fleet.log, PAIR[0])
        fleet.thaw(frozen)
        drill.expect(
            lambda log: not frozen.is_running or claims_of(log, PAIR[0]) > claims,
            "the thawed replica ends, or has noticed and is a member anew",
        )
        is_gone = not frozen.is_running
        assert not is_gone or "fenced" in frozen.tail(), frozen.tail()
        (fleet.forget if is_gone else fleet.take_back)(frozen)
        drill.expect_trading("after the thaw")
        fleet.log.read_to_end()
        drill.note("ended by itself when it thawed, fenced", int(is_gone), "")
        drill.note("records of the thawed one under its old epoch", void_records(fleet.log) - void, "", most=0)
    assert not drill.problems, "\n".join(drill.problems)
