"""Brokers die, stand still, all go away; consumers are killed, replicas join and leave.

Under load nothing acknowledged is lost, every record is decided exactly once, and all go on soon.
"""

import time

import pytest

from agents.lifecycle import local_cluster, local_kafka
from tests.drills.drill import NewDrill
from tests.drills.fleet import ECHOES, REPLICAS
from tests.drills.watch import owns

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

AWAY_S = 10.0
STALL_S = 5.0


def test_the_leader_of_a_partition_is_killed(new_drill: NewDrill) -> None:
    with new_drill("leader-killed") as drill:
        for number in range(drill.form.leader_kills):
            leader = drill.fleet.leader("market", number % 3)
            local_kafka.kill(leader)
            drill.expect_recovery(what=f"kill {number} of a leader")
            local_kafka.start(leader)
            drill.expect_recovery(what=f"return {number} of a leader")
            drill.fleet.wait_in_sync()
    assert not drill.problems, "\n".join(drill.problems)


def test_all_brokers_are_restarted_one_after_the_other(new_drill: NewDrill) -> None:
    with new_drill("rolling-restart") as drill:
        for number in range(drill.form.rollings):
            for broker in drill.fleet.brokers:
                assert local_kafka.stop(broker.directory)
                local_kafka.start(broker)
                drill.fleet.wait_in_sync()
            drill.expect_recovery(what=f"rolling restart {number}")
    assert not drill.problems, "\n".join(drill.problems)


def test_all_brokers_are_away_for_ten_seconds(new_drill: NewDrill) -> None:
    with new_drill("all-away") as drill:
        for number in range(drill.form.outages):
            local_cluster.kill_all(drill.fleet.brokers)
            time.sleep(AWAY_S)
            local_cluster.start_all(drill.fleet.brokers)
            drill.expect_recovery(what=f"outage {number}")
            drill.fleet.wait_in_sync()
    assert not drill.problems, "\n".join(drill.problems)


def test_the_leader_of_a_partition_stands_still_for_five_seconds(new_drill: NewDrill) -> None:
    with new_drill("stall") as drill:
        for number in range(drill.form.stalls):
            leader = drill.fleet.leader("market", number % 3)
            local_kafka.freeze(leader)
            time.sleep(STALL_S)
            local_kafka.thaw(leader)
            drill.expect_recovery(what=f"stall {number}")
            drill.fleet.wait_in_sync()
    assert not drill.problems, "\n".join(drill.problems)


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
