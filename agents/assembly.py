"""From settings to agents: the one place that knows how each is put together."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from agents.errors import SettingsError
from agents.execution.agent import ExecutionAgent, OnStep
from agents.execution.scope import Scope
from agents.feed.agent import FeedAgent
from agents.feed.config import open_source
from agents.lifecycle.agent import Agent
from agents.orchestrator.agent import OrchestratorAgent
from agents.risk.agent import RiskAgent
from agents.settings import Settings
from agents.trainer.agent import TrainerAgent
from agents.trainer.config import TrainerConfig
from agents.venue.agent import VenueAgent
from bundles.features import load_user_features
from bundles.signing import TrustStore
from bundles.verifier import Verifier
from bundles.verifier.process import ForkedProcess
from messages import Bus, Clock

AGENTS = ("venue", "risk", "execution", "orchestrator", "trainer", "feed")


def scope_of(settings: Settings) -> Scope:
    """Return what Execution trades and trusts. Raises SettingsError, and BadUserFeature."""
    return Scope(
        instruments=settings.instruments_by_name,
        strategies=settings.strategy_of,
        limits=settings.limits,
        trust=trust_of(settings),
        allow_unsigned=settings.allow_unsigned,
        user_features=load_user_features(settings.features.allow),
    )


def trust_of(settings: Settings) -> TrustStore | None:
    """Return the trusted keys. Raises SettingsError when nothing could ever be trusted."""
    if settings.trust is None:
        if settings.allow_unsigned:
            return None
        raise SettingsError("trust", "no directory of public keys; make one with `tickpilot bundle keygen`")
    return TrustStore.read(Path(settings.trust))


def _trainer_config(settings: Settings) -> TrainerConfig:
    trainer = settings.trainer
    user_features = {**trainer.environment.user_features, **settings.features.allow}
    environment = msgspec.structs.replace(trainer.environment, user_features=user_features)
    return msgspec.structs.replace(trainer, registry_uri=settings.registry, environment=environment)


def build_agent(
    name: str,
    settings: Settings,
    *,
    bus: Bus,
    clock: Clock,
    agent_id: str | None = None,
    on_step: OnStep | None = None,
    verifier: ForkedProcess | None = None,
) -> Agent:
    """Return the agent of that name, not started; Execution takes over the `verifier` process.

    Raises SettingsError.
    """
    builders: dict[str, Callable[[str], Agent]] = {
        "execution": lambda who: ExecutionAgent(
            config=settings.execution,
            scope=scope_of(settings),
            bus=bus,
            clock=clock,
            verifier=Verifier(first=verifier, runtime=settings.execution.decisions.runtime),
            agent_id=who,
            on_step=on_step,
        ),
        "orchestrator": lambda who: OrchestratorAgent(
            config=settings.orchestrator,
            bus=bus,
            clock=clock,
            strategies=settings.strategy_of,
            trust=trust_of(settings),
            allow_unsigned=settings.allow_unsigned,
            agent_id=who,
        ),
        "risk": lambda who: RiskAgent(
            config=settings.risk,
            bus=bus,
            clock=clock,
            instruments=settings.instruments_by_name,
            limits=settings.limits,
            cash=settings.cash,
            agent_id=who,
        ),
        "venue": lambda who: VenueAgent(
            config=settings.venue, bus=bus, clock=clock, instruments=settings.instruments_by_name, agent_id=who
        ),
        "trainer": lambda who: TrainerAgent(
            _trainer_config(settings),
            bus=bus,
            clock=clock,
            instruments=settings.instruments_by_name,
            agent_id=who,
        ),
        "feed": lambda who: FeedAgent(
            config=settings.feed, source=open_source(settings.feed), bus=bus, clock=clock, agent_id=who
        ),
    }
    if name not in builders:
        raise SettingsError("agent", f"there is no agent {name!r}, only {', '.join(AGENTS)}")
    return builders[name](agent_id or f"{name}-1")
