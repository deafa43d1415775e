"""What a training run can be told, and what the trainer hands to its worker."""

from typing import Annotated

from msgspec import Meta, Struct

from agents.risk.instruments import Instrument
from bundles.actions import ActionMapping
from bundles.features import DEFAULT_FEATURES, FeatureSpec, Observer, load_user_features
from messages.fields import Name, Nanoseconds, Sequence
from messages.training import Algorithm

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, lt=1)]
RunName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]


class EnvironmentConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The training market: what is seen, when decisions are made and what trading costs.

    `user_features` are the user's own features by name, each `module:function`; in the settings file they are listed
    once for all agents, under `features`.
    """

    features: FeatureSpec = DEFAULT_FEATURES
    actions: ActionMapping = ActionMapping(kind="levels", max_position=1.0, decide_every=6)
    episode_decisions: Count = 200
    latency_ns: Annotated[int, Meta(ge=0)] = 2_000_000  # from the decision to the venue
    fee_bps: float | None = None  # of the traded value; null: the instrument's taker fee
    user_features: dict[str, str] = {}

    def observer(self) -> Observer:
        """Return what computes the observations. Raises FeaturesRefused, BadUserFeature."""
        return Observer(self.features, load_user_features(self.user_features))


class LearnerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the network learns. What an algorithm has no use for is ignored."""

    net_arch: tuple[Count, ...] = (64, 64)
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-3
    gamma: Share = 0.97
    batch_size: Count = 256
    parallel_environments: Count = 16
    buffer_size: Count = 60_000  # transitions (off-policy)
    learning_starts: Annotated[int, Meta(ge=0)] = 1_000  # transitions (off-policy)
    train_every: Count = 1  # steps of all parallel environments (off-policy)
    gradient_steps: Count = 1  # per training (off-policy)
    target_update_every: Count = 1_000  # transitions (DQN)
    exploration_share: Share = 0.4  # of all timesteps (DQN)
    exploration_end: Annotated[float, Meta(ge=0, le=1)] = 0.05  # (DQN)


class TrainerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The trainer: defaults of every run, and the bounds of the agent.

    `signing_key` is the path of the private key, null: bundles stay unsigned. `models_dir` gets a directory for each
    run. `risk_policy` is the path of a limits file: its metrics are watched while training, and their worst values are
    among the figures. `registry_uri` is where bundles are stored, null: BundleReady names the run's own directory.
    """

    algorithm: Algorithm = "dqn"
    timesteps: Count = 40_000
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    run_name: RunName = "run"
    strategy: Name = "default"
    instruments: tuple[Name, ...] = ()  # for `create_trainer_agent`; a TrainRequest names its own
    models_dir: str = "models"
    signing_key: str | None = None
    registry_uri: str | None = None
    risk_policy: str | None = None
    environment: EnvironmentConfig = EnvironmentConfig()
    learner: LearnerConfig = LearnerConfig()
    held_out: Share = 0.25  # the last part of the ticks, for evaluation
    mirror: bool = True  # train on the upside-down market too, so that long and short are learnt alike
    max_ticks: Count = 500_000  # kept for each instrument
    progress_every: Count = 5_000  # timesteps
    run_timeout_s: Annotated[float, Meta(gt=0)] = 1_800.0
    heartbeat_interval_ms: Count = 1_000


class WorkerRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run, for the worker process. `data` is an npz file: one array of tick rows for each instrument.

    `created` goes into the bundle (ns): the same request and data give the same bytes.
    """

    run_id: RunName
    strategy: Name
    instruments: Annotated[tuple[Instrument, ...], Meta(min_length=1)]
    algorithm: Algorithm
    timesteps: Count
    seed: int
    sequence: Sequence
    created: Nanoseconds
    data: str
    config: TrainerConfig


class WorkerProgress(Struct, frozen=True, kw_only=True, tag=True):
    """A line of the worker's standard output: how far it is. `mean_reward` is per episode, in basis points."""

    timesteps_done: int
    timesteps_total: int
    mean_reward: float | None = None


class WorkerDone(Struct, frozen=True, kw_only=True, tag=True):
    """The worker's last line when there is a bundle. `bundle` is its directory."""

    bundle: str
    bundle_id: str
    sha256: str
    figures: dict[str, float]


class WorkerFailed(Struct, frozen=True, kw_only=True, tag=True):
    """The worker's last line when there is none. `model` is the saved SB3 model, if training got that far."""

    reason: str
    model: str | None = None
    figures: dict[str, float] = {}


WorkerLine = WorkerProgress | WorkerDone | WorkerFailed
