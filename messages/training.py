"""Topic `training`: requests, progress and results of training runs. Key = run id."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from messages.fields import Count, Digest, Name, Nanoseconds, Sequence

Algorithm = Literal["dqn", "ppo", "a2c", "sac", "td3"]


class TrainRequest(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Train a policy on market data received up to `data_to` (ts_recv, ns; null: all so far).

    Written by orchestrator and users; read by trainer. The bundle is announced no earlier than `announce_at`
    (the trainer's clock, ns), which makes a demo on a virtual clock repeatable.
    """

    run_id: Name
    strategy: Name
    instruments: Annotated[tuple[Name, ...], Meta(min_length=1)]
    algorithm: Algorithm
    timesteps: Annotated[int, Meta(ge=1, le=2**63 - 1, description="steps of the environment")]
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1, description="seed of all randomness")]
    sequence: Sequence
    ts: Nanoseconds
    data_to: Nanoseconds | None = None
    announce_at: Nanoseconds | None = None


class TrainProgress(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """How far a run is. Written by trainer; read by orchestrator, console.

    `mean_reward` per episode, null before the first; `ts` in ns.
    """

    run_id: Name
    ts: Nanoseconds
    timesteps_done: Count
    timesteps_total: Count
    mean_reward: Annotated[float, Meta(description="reward of an episode")] | None = None


class TrainResult(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """How a run ended. Written by trainer; read by orchestrator, console. `ts` in ns.

    `figures` are held-out evaluation numbers.
    """

    run_id: Name
    ts: Nanoseconds
    outcome: Literal["published", "failed"]
    bundle_id: Name | None = None
    sha256: Digest | None = None
    uri: str | None = None
    reason: str | None = None
    figures: dict[str, Annotated[float, Meta(description="in the unit of the figure")]] = {}


TrainingMessage = TrainRequest | TrainProgress | TrainResult
