"""Bundles on their way to the hot path: verified, loaded and warmed beside it, kept by digest."""

import asyncio
from collections.abc import Collection, Mapping

import numpy as np

from agents.errors import SettingsError
from agents.execution.directives import Wanted
from agents.execution.shard.step import ServingBundle
from agents.risk.limits.file import bundle_limits
from bundles.errors import BundleRefused
from bundles.features import (
    FeatureFailed,
    FeatureSpec,
    FeaturesRefused,
    Observer,
    TickRing,
    UserFeature,
    warm_kernel,
)
from bundles.loader import LoadedBundle, stage
from bundles.manifest import Expectation
from bundles.runtimes.choice import RuntimeName, warm_runtime
from bundles.signing import TrustStore
from bundles.verifier import Verifier, VerifierUnavailable
from messages import Clock, RejectCode, Rejected, Staged

_NO_FEATURES: Mapping[str, UserFeature] = {}


class Staging:
    """Stages what `control` names; each digest once. A refused bundle is answered with Rejected and not kept."""

    def __init__(
        self,
        *,
        clock: Clock,
        agent_id: str,
        trust: TrustStore | None,
        verifier: Verifier,
        instruments: Mapping[str, str],
        allow_unsigned: bool = False,
        timeout_s: float = 20.0,
        user_features: Mapping[str, UserFeature] = _NO_FEATURES,
    ) -> None:
        self._user_features = user_features
        self._clock, self._agent_id, self._trust, self._verifier = clock, agent_id, trust, verifier
        self._instruments, self._allow_unsigned, self._timeout_s = instruments, allow_unsigned, timeout_s
        self._bundles: dict[str, ServingBundle] = {}

    @property
    def bundles(self) -> Mapping[str, ServingBundle]:
        """The staged bundles by digest; changes as bundles are staged and let go of."""
        return self._bundles

    def retain(self, digests: Collection[str]) -> None:
        """Let go of every bundle but these: each that was ever staged would stay in memory otherwise."""
        for digest in self._bundles.keys() - set(digests):
            del self._bundles[digest]

    async def stage(self, wanted: Wanted) -> Staged | Rejected:
        """Stage a bundle and return the answer for `status`; nothing changes when it is refused."""
        began = self._clock.perf_ns()
        try:
            if wanted.sha256 not in self._bundles:
                self._bundles[wanted.sha256] = await self._load(wanted)
        except (BundleRefused, VerifierUnavailable) as refusal:
            return Rejected(
                agent_id=self._agent_id,
                strategy=wanted.strategy,
                bundle_id=wanted.bundle_id,
                sha256=wanted.sha256,
                ts=self._clock.now_ns(),
                code=refusal.code if isinstance(refusal, BundleRefused) else RejectCode.LOAD_FAILED,
                detail=str(refusal),
            )
        return Staged(
            agent_id=self._agent_id,
            strategy=wanted.strategy,
            bundle_id=wanted.bundle_id,
            sha256=wanted.sha256,
            ts=self._clock.now_ns(),
            staging_ms=(self._clock.perf_ns() - began) / 1e6,
        )

    async def _load(self, wanted: Wanted) -> ServingBundle:
        instruments = tuple(name for name, strategy in self._instruments.items() if strategy == wanted.strategy)
        loaded = await stage(
            wanted.uri,
            wanted.sha256,
            trust=self._trust,
            verifier=self._verifier,
            expected=Expectation(strategy=wanted.strategy, instruments=instruments),
            allow_unsigned=self._allow_unsigned,
            verify_timeout_s=self._timeout_s,
        )
        if loaded.bundle_id != wanted.bundle_id:
            raise BundleRefused(
                RejectCode.BAD_METADATA, f"its bundle id is {loaded.bundle_id}, announced was {wanted.bundle_id}"
            )
        return await asyncio.to_thread(serving, loaded, self._user_features)


def prepare(runtime: RuntimeName) -> None:
    """Import torch, if that is the backend, and compile the kernels: it holds the interpreter for seconds.

    In a replica that is a member of its group already, that could cost it its shards: to be done before it joins.
    """
    warm_runtime(runtime)
    warm_kernel()


def serving(loaded: LoadedBundle, user_features: Mapping[str, UserFeature] = _NO_FEATURES) -> ServingBundle:
    """Return what decisions need of a loaded bundle, with everything called once: first calls cost milliseconds.

    Raises BundleRefused WRONG_SHAPE when its actions mean no position, BAD_METADATA for limits that the gate can't
    hold, UNKNOWN_FEATURES for a user's feature that is not allowed here, is another, or raises.
    """
    manifest = loaded.manifest
    if manifest.actions is None:
        raise BundleRefused(
            RejectCode.WRONG_SHAPE, "its actions mean no position; export it with `actions`, or serve it by `predict`"
        )
    try:
        bundle_limits(manifest.limits)
    except SettingsError as error:
        raise BundleRefused(RejectCode.BAD_METADATA, str(error)) from error
    return ServingBundle(
        strategy=manifest.strategy,
        bundle_id=loaded.bundle_id,
        sha256=loaded.digest,
        policy=loaded.runtime,
        observer=None if manifest.features is None else _observer(manifest.features, user_features),
        actions=manifest.actions,
        limits=manifest.limits,
        is_batched=loaded.runtime.gains_from_batches,
    )


def _observer(spec: FeatureSpec, user_features: Mapping[str, UserFeature]) -> Observer:
    try:
        observer = Observer(spec, user_features)
        _warm(observer)
    except (FeaturesRefused, FeatureFailed) as error:
        raise BundleRefused(RejectCode.UNKNOWN_FEATURES, str(error)) from error
    return observer


def _warm(observer: Observer) -> None:
    ring, out = TickRing(), np.empty(observer.size, dtype=np.float32)
    for index in range(observer.spec.min_ticks):
        ring.push_quote(index, 100.0, 1.0, 101.0 + index % 2, 1.0)
        ring.push_trade(index, 100.0, 1.0, 1)
    observer.observe(ring, out, 0.0, 0.0, 0)
