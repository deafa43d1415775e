"""Which partition a key belongs to: murmur2, as Kafka's Java clients do it."""

from functools import lru_cache

from aiokafka.partitioner import murmur2

_CACHED_KEYS = 4096
_LONGEST_CACHED_KEY = 256  # bytes: with it the cache stays under 2 MB whatever keys come


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key` among `partitions`, equal to Java's default partitioner."""
    return _positive(key) % partitions if len(key) <= _LONGEST_CACHED_KEY else _compute(key) % partitions


def _compute(key: bytes) -> int:
    positive: int = murmur2(key) & 0x7FFFFFFF
    return positive


_positive = lru_cache(_CACHED_KEYS)(_compute)  # the hash is pure Python, and called for every record of a few keys
