"""Topic `status`: who is alive and what they hold. Key = agent id/type, and /digest for Staged, Swapped, Rejected."""

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from messages.fields import (
    Count,
    Digest,
    Microseconds,
    Milliseconds,
    Money,
    Name,
    Nanoseconds,
    Offset,
    PartitionIndex,
    Sequence,
    Units,
)


class RejectCode(StrEnum):
    """Why a bundle was refused: the closed list."""

    UNREACHABLE = "unreachable"
    TOO_LARGE = "too-large"
    MISSING_FILE = "missing-file"
    UNLISTED_FILE = "unlisted-file"
    BAD_NAME = "bad-name"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad-signature"
    UNTRUSTED_KEY = "untrusted-key"
    REVOKED_KEY = "revoked-key"
    DIGEST_MISMATCH = "digest-mismatch"
    BAD_METADATA = "bad-metadata"
    EXPIRED = "expired"
    OLD_SEQUENCE = "old-sequence"
    WRONG_STRATEGY = "wrong-strategy"
    WRONG_INSTRUMENTS = "wrong-instruments"
    WRONG_SHAPE = "wrong-shape"
    UNKNOWN_FEATURES = "unknown-features"
    FORBIDDEN_CODE = "forbidden-code"
    LOAD_FAILED = "load-failed"
    GOLDEN_MISMATCH = "golden-mismatch"
    NOT_FINITE = "not-finite"
    TIMED_OUT = "timed-out"


ClientKind = Literal["consumer", "member", "producer", "owner"]
Health = Literal["ok", "stalled"]


class ClientState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One client of an agent's bus. `since_ns`: when it stalled, ns since the epoch; 0 while it is well.

    `handled`: records read, or sends acknowledged. `behind`: records between positions and ends when these were last
    asked for, or sends not acknowledged. `timeouts` counts BusTimeouts. An `owner` (a fenced producer) is never
    rebuilt: its shard recovers with a new Claim.
    """

    name: str
    kind: ClientKind
    state: Health = "ok"
    reason: str = ""
    since_ns: Nanoseconds = 0
    rebuilds: Count = 0
    handled: Count = 0
    behind: Count = 0
    timeouts: Count = 0


class ShardStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One live shard of Execution: how far it has read, what it holds, and what of its budget it uses.

    Records of `control` before `control_to`, and of `reports` before `reports_to`, are applied; those of `control`
    before `control_logged_to` in steps that are on `decisions`, so that every later owner of the shard has applied
    them. `positions`: units by instrument, flat ones left out. `gross_share`, `net_share`: the part of the portfolio's
    exposure limits that its gate enforces; `gross_used`, `net_used`: its exposure with all open orders filled. Since
    the last heartbeat: `gross_denials` and `net_denials`, orders that these shares did not allow; `decisions`, answers
    of the policies, of them `saturated` with an action at its bounds; `decision_p99_us`, tick in to orders out.
    `throttled`: instruments whose repeated-execution throttle has closed, until a Halt takes its place.
    """

    partition: PartitionIndex
    control_to: Offset
    reports_to: Offset
    positions: dict[Name, Units] = {}
    gross_share: Money | None = None
    net_share: Money | None = None
    gross_used: Money = 0.0
    net_used: Money = 0.0
    control_logged_to: Offset = 0
    gross_denials: Count = 0
    net_denials: Count = 0
    decisions: Count = 0
    saturated: Count = 0
    decision_p99_us: Microseconds | None = None
    throttled: tuple[Name, ...] = ()


class Heartbeat(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """An agent is alive. Written by all; read by orchestrator, execution, risk, console.

    `partitions`, `staged` (digests) and `shards` are Execution's; `ts` in ns. `clients`: those of its bus that are
    stalled or were rebuilt. `loop_late_ms`: the most that the agent's event loop was late since the last heartbeat.
    """

    agent_id: Name
    agent: Name
    ts: Nanoseconds
    state: Name
    partitions: tuple[PartitionIndex, ...] = ()
    staged: tuple[Digest, ...] = ()
    clients: tuple[ClientState, ...] = ()
    loop_late_ms: Milliseconds | None = None
    shards: tuple[ShardStatus, ...] = ()


class Staged(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A replica has verified, loaded and warmed a bundle. Written by execution; read by orchestrator, console.

    `ts` in ns; `staging_ms` from the Rollout to ready.
    """

    agent_id: Name
    strategy: Name
    bundle_id: Name
    sha256: Digest
    ts: Nanoseconds
    staging_ms: Milliseconds


class Swapped(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A shard trades with a new bundle from market offset `market_from`, step `n`.

    Written by execution; read by orchestrator, console. `ts` in ns.
    """

    agent_id: Name
    partition: PartitionIndex
    strategy: Name
    instrument: Name
    bundle_id: Name
    sha256: Digest
    n: Sequence
    market_from: Offset
    ts: Nanoseconds
    swap_us: Annotated[float, Meta(ge=0, description="microseconds")]


class Rejected(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A bundle was refused; the old policy keeps trading.

    Written by execution and orchestrator; read by orchestrator, console. `ts` in ns.
    """

    agent_id: Name
    strategy: Name
    bundle_id: Name
    sha256: Digest
    ts: Nanoseconds
    code: RejectCode
    detail: str


StatusMessage = Heartbeat | Staged | Swapped | Rejected


def status_key(message: StatusMessage) -> str:
    """Return the record key: agent id, type, the digest for all but heartbeats, the instrument for Swapped."""
    match message:
        case Heartbeat():
            return f"{message.agent_id}/Heartbeat"
        case Swapped():
            return f"{message.agent_id}/Swapped/{message.sha256}/{message.instrument}"
        case Staged() | Rejected():
            return f"{message.agent_id}/{type(message).__name__}/{message.sha256}"
