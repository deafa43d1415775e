"""The Orchestrator's settings."""

from typing import Annotated

from msgspec import Meta, Struct

Milliseconds = Annotated[int, Meta(gt=0)]


class OrchestratorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`replica_timeout_ms`: a replica of Execution whose heartbeat is older doesn't count."""

    replica_timeout_ms: Milliseconds = 5_000
    heartbeat_interval_ms: Milliseconds = 1_000
