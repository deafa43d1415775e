"""Fetched bytes become our records, with aiokafka's parser and without its records."""

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from messages import Record
from messages.bus.kafka.parsing import Parsing

RAW = TopicPartition("a-prefix-market", 3)


def fetched() -> Any:
    batch = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=4096,
    )
    batch.append(0, timestamp=7, key=b"K", value=b"first", headers=[("h", b"1"), ("h", None)])
    batch.append(1, timestamp=8, key=None, value=None, headers=[])
    return PartitionRecords(
        RAW,
        MemoryRecords(bytes(batch.build())),
        aborted_transactions=None,
        fetch_offset=0,
        key_deserializer=None,
        value_deserializer=None,
        check_crcs=True,
        isolation_level=0,
    )


EXPECTED = [
    Record(
        topic="market",
        partition=3,
        offset=0,
        timestamp_ms=7,
        key=b"K",
        value=b"first",
        headers=(("h", b"1"), ("h", None)),  # type: ignore[arg-type] # Kafka has them, though nobody here writes them
    ),
    Record(topic="market", partition=3, offset=1, timestamp_ms=8, key=None, value=None),
]


def test_what_was_fetched_is_parsed_into_our_records() -> None:
    records, parsing = fetched(), Parsing("a-prefix-")
    parsing.take_over(SimpleNamespace(_records={RAW: SimpleNamespace(_partition_records=records)}))
    batch = list(records)
    assert batch == EXPECTED
    assert parsing.records(RAW, batch) is batch
    assert records.next_fetch_offset == 2


def test_what_was_fetched_behind_its_back_comes_out_the_same() -> None:
    assert Parsing("a-prefix-").records(RAW, list(fetched())) == EXPECTED


def test_an_error_among_what_was_fetched_is_left_alone() -> None:
    Parsing("a-prefix-").take_over(SimpleNamespace(_records={RAW: SimpleNamespace(_error=KeyError())}))
