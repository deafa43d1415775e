"""The registry is the table of docs/topics: names, keys, partitions, cleanup, messages."""

import pytest

from messages.errors import TopicMismatch
from messages.topics import TOPICS, topic_named

TABLE = {
    "market": ("instrument", True, "delete", "Quote Trade Bar Observation"),
    "orders": ("instrument", True, "delete", "Order Cancel Claim"),
    "reports": ("instrument", True, "delete", "ExecutionReport"),
    "decisions": ("partition (explicit)", True, "delete", "DecisionBatch Claim"),
    "checkpoints": ("partition (explicit)", True, "compact", "Checkpoint"),
    "bundles": ("bundle id", False, "compact", "BundleReady"),
    "control": (
        "switch",
        False,
        "delete",
        "LogStarted Rollout Activate Shadow Halt Resume Flatten Override Limits Adjust",
    ),
    "status": (
        "agent id/type, and /digest for Staged, Swapped, Rejected",
        False,
        "compact",
        "Heartbeat Staged Swapped Rejected",
    ),
    "risk": (
        "RiskSnapshot: scope; Alert: alert id; RiskCheckpoint: checkpoint/agent id",
        False,
        "compact",
        "RiskSnapshot Alert RiskCheckpoint",
    ),
    "training": ("run id", False, "delete", "TrainRequest TrainProgress TrainResult"),
    "dead-letters": ("source topic", False, "delete", "DeadLetter"),
}


def test_the_registry_is_the_designs_table() -> None:
    assert {
        name: (topic.key, topic.sharded, topic.cleanup, " ".join(message.__name__ for message in topic.messages))
        for name, topic in TOPICS.items()
    } == TABLE


def test_topics_of_a_shard_share_its_partition_count_and_others_have_one() -> None:
    assert {name: topic.partitions(12) for name, topic in TOPICS.items()} == {
        name: 12 if sharded else 1 for name, (_, sharded, _, _) in TABLE.items()
    }


def test_what_the_broker_must_know_of_a_topic() -> None:
    assert TOPICS["market"].broker_config()["message.timestamp.type"] == "LogAppendTime"
    assert TOPICS["orders"].broker_config()["message.timestamp.type"] == "LogAppendTime"
    assert TOPICS["control"].broker_config()["retention.ms"] == "-1"
    assert TOPICS["checkpoints"].broker_config() == {
        "cleanup.policy": "compact",
        "segment.bytes": "33554432",
        "segment.ms": "3600000",
    }


def test_every_message_is_tagged_and_says_who_writes_and_reads_it() -> None:
    for topic in TOPICS.values():
        for message in topic.messages:
            assert message.__struct_config__.tag == message.__name__
            assert message.__struct_config__.frozen
            assert message.__doc__


def test_an_unregistered_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(TopicMismatch, match="market"):
        topic_named("markets")
