"""Keys go to the partition that Kafka's own Java clients take: compared with pairs that Kafka's code has made."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.lifecycle import local_kafka
from messages.bus import partitioner
from messages.bus.partitioner import partition_of

GOLDEN = Path(__file__).parent / "golden"
COUNTS = (1, 3, 4, 7, 12, 64)
LINES = (GOLDEN / "murmur2.tsv").read_text().splitlines()
PART = LINES[:5] + LINES[5::10]


def pairs(lines: list[str]) -> Iterator[tuple[bytes, int, int]]:
    """Key, partition count and partition of each pair."""
    for line in lines:
        key, *partitions = line.split("\t")
        yield from ((bytes.fromhex(key), count, int(at)) for count, at in zip(COUNTS, partitions, strict=True))


def test_all_pairs_of_kafkas_own_java_code_are_met() -> None:
    expected = list(pairs(LINES))
    assert len(expected) >= 500
    keys = {key for key, _, _ in expected}
    assert b"" in keys
    assert any(len(key) > 900 for key in keys)
    assert "🚀".encode() in keys
    for _ in range(2):  # the second time from the cache
        assert [(key, count, partition_of(key, count)) for key, count, _ in expected] == expected


def test_the_cache_is_bounded_in_keys_and_in_their_length() -> None:
    for number in range(2 * partitioner._CACHED_KEYS):
        partition_of(b"%d" % number, 4)
    before = partitioner._positive.cache_info()
    assert before.currsize == partitioner._CACHED_KEYS
    partition_of(bytes(100_000), 4)
    assert partitioner._positive.cache_info() == before


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_kafkas_java_code_still_makes_these_pairs() -> None:
    jars = local_kafka.HOME / "jars"
    if shutil.which("java") is None or not any(jars.glob("kafka-clients-*.jar")):
        pytest.skip("no Java, or no kafka-clients jar: `make kafka` fetches it")
    keys = "".join(line.split("\t")[0] + "\n" for line in PART)
    command = ["java", "-cp", f"{jars}/*", str(GOLDEN / "Murmur2Pairs.java")]
    made = subprocess.run(command, input=keys, capture_output=True, text=True, timeout=100, check=True)
    assert made.stdout.splitlines() == PART
