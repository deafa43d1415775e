"""The shard: the pure core of Execution, one partition's whole state and how it moves. No await, no clock, no I/O."""

from agents.execution.shard.shard import Shard

__all__ = ["Shard"]
