"""Which partition a key belongs to: murmur2, as Kafka's Java clients do it."""

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key` among `partitions`, equal to Java's default partitioner."""
    index: int = (murmur2(key) & 0x7FFFFFFF) % partitions
    return index
