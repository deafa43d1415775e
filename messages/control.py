"""Topic `control`: the only thing that changes what may trade, and with which bundle. Read from offset 0."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from messages.fields import Digest, Money, Name, Nanoseconds, Offset, Price, Units

Expects = Annotated[int, Meta(ge=-1, le=2**63 - 1, description="offset of the last record seen for the key; -1: none")]
Scope = Annotated[str, Meta(pattern="^(portfolio|strategy:.+|instrument:.+)$", max_length=160)]
HaltLevel = Literal["reducing", "halted"]
PORTFOLIO: Scope = "portfolio"


class LogStarted(Struct, frozen=True, kw_only=True, tag=True):
    """First record of `control`: the random id of this log, part of every order id. Key log.

    Written by operators (`topics create`); read by all.
    """

    log_id: Name


class Rollout(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Stage this bundle for a strategy: verify, load and warm it. Key rollout/STRATEGY.

    Written by orchestrator and operators; read by execution, which answers Staged or Rejected. `ts` in ns.
    """

    strategy: Name
    bundle_id: Name
    uri: str
    sha256: Digest
    expects: Expects
    ts: Nanoseconds
    who: Name


class Activate(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Trade an instrument with a staged bundle from the next step on. Key active/STRATEGY/INSTRUMENT.

    Written by orchestrator and operators; read by all. `ts` in ns.
    """

    strategy: Name
    instrument: Name
    bundle_id: Name
    sha256: Digest
    expects: Expects
    ts: Nanoseconds
    who: Name


class Shadow(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Let a bundle decide on an instrument and send nothing, beside what trades. Key shadow/STRATEGY/INSTRUMENT.

    Written by orchestrator and operators; read by execution, which stages what it names and answers Staged or Rejected.
    `bundle_id`, `uri` and `sha256` go together; without them the shadow ends. `ts` in ns.
    """

    strategy: Name
    instrument: Name
    expects: Expects
    ts: Nanoseconds
    who: Name
    bundle_id: Name | None = None
    uri: str | None = None
    sha256: Digest | None = None


class Halt(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Stop trading (`halted`) or allow only what reduces (`reducing`). Latches. Key halt/SCOPE/WRITER.

    Written by risk and operators; read by all. `ts` in ns.
    """

    scope: Scope
    level: HaltLevel
    writer: Name
    reason: str
    ts: Nanoseconds


class Resume(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Clears exactly the Halts whose offsets it names. Key halt/SCOPE/WRITER of its author.

    Written by operators; read by all. `ts` in ns.
    """

    scope: Scope
    clears: tuple[Offset, ...]
    who: Name
    reason: str
    ts: Nanoseconds


class Flatten(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A switch: while on, Execution closes positions of the scope with reduce-only orders. Key flatten/SCOPE.

    Written by operators; read by all. `ts` in ns.
    """

    scope: Scope
    on: bool
    who: Name
    reason: str
    ts: Nanoseconds


class Override(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Sets a target position (units) by hand; `target` null releases. Key override/STRATEGY/INSTRUMENT.

    Written by operators; read by all. `ts` in ns.
    """

    strategy: Name
    instrument: Name
    expects: Expects
    who: Name
    reason: str
    ts: Nanoseconds
    target: Units | None = None


class Limits(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Replaces numbers of the limits file at run time. Key limits. Void unless `version` is the last valid one's + 1.

    Written by risk and operators; read by all. Shares are Risk's. `changes`: `defaults.LIMIT`, `portfolio.LIMIT`,
    `instruments.NAME.LIMIT`, `strategies.NAME.LIMIT` in the units of the limits that they name, `shares.SHARD.gross`
    and `.net` as parts of the portfolio's limit; where one is impossible, none of its record counts. `ts` in ns.
    """

    version: Annotated[int, Meta(ge=1, le=2**63 - 1, description="ordinal number, counts up")]
    changes: dict[str, Annotated[float, Meta(description="in the unit of the limit")]]
    who: Name
    reason: str
    ts: Nanoseconds


class Adjust(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A correction by hand of cash (currency) or a position (units), with a name and a reason. Key adjust/ID.

    Written by operators; read by all. `price` in the quote currency; `ts` in ns.
    """

    adjust_id: Name
    who: Name
    reason: str
    ts: Nanoseconds
    cash: Money = 0.0
    instrument: Name | None = None
    quantity: Units = 0.0
    price: Price = 0.0


ControlMessage = LogStarted | Rollout | Activate | Shadow | Halt | Resume | Flatten | Override | Limits | Adjust


def control_key(message: ControlMessage) -> str:  # noqa: C901 - one case a message
    """Return the record key of a control message: the switch that it moves."""
    match message:
        case LogStarted():
            return "log"
        case Rollout():
            return f"rollout/{message.strategy}"
        case Activate():
            return f"active/{message.strategy}/{message.instrument}"
        case Shadow():
            return f"shadow/{message.strategy}/{message.instrument}"
        case Halt():
            return f"halt/{message.scope}/{message.writer}"
        case Resume():
            return f"halt/{message.scope}/{message.who}"
        case Flatten():
            return f"flatten/{message.scope}"
        case Override():
            return f"override/{message.strategy}/{message.instrument}"
        case Limits():
            return "limits"
        case Adjust():
            return f"adjust/{message.adjust_id}"
