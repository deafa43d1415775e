"""The figures of one bundle: how fast it answers, how long it takes to load, what stays behind after many loads."""

import gc
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count, sysconf
from pathlib import Path
from statistics import median
from typing import Annotated, Any, get_args

from msgspec import Meta, Struct

from bundles.errors import BundleRefused
from bundles.latency import SLO_US, Times, bare_call, compare, paced_calls, sample_observations, time_calls
from bundles.loader import open_policy, verify_files
from bundles.manifest import POLICY_NAME, Manifest
from bundles.runtimes.choice import DEFAULT_RUNTIME, RuntimeName, open_runtime
from bundles.runtimes.protocol import PolicyRuntime
from bundles.signing import TrustStore
from bundles.verifier import Verifier
from messages import Clock

LIBRARIES = ("torch", "numpy", "numba", "onnxruntime")
PACE_HZ = 100
SLO_FIGURE = f"paced at {PACE_HZ}/s, kept warm, {DEFAULT_RUNTIME}, p99"
_MEMORY = Path("/proc/self/statm")

Count = Annotated[int, Meta(ge=1)]


class Effort(Struct, frozen=True, kw_only=True):
    """How much is measured: alternating rounds of so many calls, calls at a pace, loads."""

    rounds: Count = 31
    calls: Count = 500
    paced_calls: Count = 300
    timed_loads: Count = 15
    loads: Count = 1_000


class Figure(Struct, frozen=True, kw_only=True):
    """One figure; `baseline` is in the same unit and from the same run."""

    name: str
    value: float
    unit: str
    baseline: float | None = None


def hot_figures(files: Mapping[str, bytes], manifest: Manifest, clock: Clock, effort: Effort) -> list[Figure]:
    """Return p50 and p99 of `act`, call after call, for every backend that can run the policy.

    The default backend is compared with the bare call, the others with the default.
    """
    runtimes = _runtimes(files, manifest)
    calls = {name: runtime.act for name, runtime in runtimes.items()}
    bare = bare_call(files[POLICY_NAME], manifest.obs_shape)
    observations = sample_observations(manifest.obs_shape)
    times = compare({"bare": bare, **calls}, observations, clock, rounds=effort.rounds, trials=effort.calls)
    baselines = dict.fromkeys(runtimes, times[DEFAULT_RUNTIME]) | {DEFAULT_RUNTIME: times["bare"]}
    figures = _hot("the bare call", times["bare"], None)
    return figures + [figure for name in runtimes for figure in _hot(f"act, {name}", times[name], baselines[name])]


def _hot(name: str, times: Times, baseline: Times | None) -> list[Figure]:
    p50, p99 = (None, None) if baseline is None else (baseline.p50_us, baseline.p99_us)
    return [
        Figure(name=f"{name}, hot, p50", value=times.p50_us, unit="us", baseline=p50),
        Figure(name=f"{name}, hot, p99", value=times.p99_us, unit="us", baseline=p99),
    ]


def _runtimes(files: Mapping[str, bytes], manifest: Manifest) -> dict[str, PolicyRuntime]:
    found: dict[str, PolicyRuntime] = {}
    for name in get_args(RuntimeName):
        try:
            found[name] = open_policy(files, manifest, name)
        except BundleRefused:
            if name == DEFAULT_RUNTIME:
                raise
    return found


def first_call_figures(files: Mapping[str, bytes], manifest: Manifest, clock: Clock) -> list[Figure]:
    """Return the times of the first six calls after loading, before anything is warm."""
    runtime = open_runtime(DEFAULT_RUNTIME, files, manifest.obs_shape)
    samples = time_calls(runtime.act, sample_observations(manifest.obs_shape), clock, 6)
    return [
        Figure(name=f"call {n} after loading", value=sample, unit="us") for n, sample in enumerate(samples.tolist(), 1)
    ]


async def paced_figures(files: Mapping[str, bytes], manifest: Manifest, clock: Clock, effort: Effort) -> list[Figure]:
    """Return p50 and p99 of `act` where the feed is sparse, left cold in between and kept warm, for every backend."""
    figures = []
    for runtime_name, runtime in _runtimes(files, manifest).items():
        for kept, is_kept_warm in (("cold", False), ("kept warm", True)):
            times = await paced_calls(
                runtime, clock, per_second=PACE_HZ, trials=effort.paced_calls, is_kept_warm=is_kept_warm
            )
            name = f"paced at {PACE_HZ}/s, {kept}, {runtime_name}"
            figures += [
                Figure(name=f"{name}, p50", value=times.p50_us, unit="us"),
                Figure(name=f"{name}, p99", value=times.p99_us, unit="us"),
            ]
    return figures


async def load_figures(
    files: Mapping[str, bytes], trust: TrustStore | None, verifier: Verifier, clock: Clock, effort: Effort
) -> list[Figure]:
    """Return how long loading takes: here, and before that in the verifier process."""
    here, there = [], []
    for _ in range(effort.timed_loads):
        began = clock.perf_ns()
        open_policy(files, verify_files(files, trust, allow_unsigned=trust is None))
        here.append((clock.perf_ns() - began) / 1e6)
    await verifier.check(files)
    for _ in range(effort.timed_loads):
        began = clock.perf_ns()
        await verifier.check(files)
        there.append((clock.perf_ns() - began) / 1e6)
    return [
        Figure(name="verify, load and warm", value=median(here), unit="ms"),
        Figure(name="scan and golden answers in the verifier process", value=median(there), unit="ms"),
    ]


def leak_figures(files: Mapping[str, bytes], manifest: Manifest, effort: Effort) -> list[Figure]:
    """Return by how much this process has grown after many loads; nothing where that can't be seen (not on Linux)."""
    if not _MEMORY.exists():
        return []
    for _ in range(max(20, effort.loads // 4)):
        open_policy(files, manifest)
    before = _resident_mb()
    for _ in range(effort.loads):
        open_policy(files, manifest)
    return [Figure(name=f"growth over {effort.loads} loads", value=_resident_mb() - before, unit="MB")]


def _resident_mb() -> float:
    gc.collect()
    return int(_MEMORY.read_text().split()[1]) * sysconf("SC_PAGE_SIZE") / 1e6


async def all_figures(
    files: Mapping[str, bytes], trust: TrustStore | None, verifier: Verifier, clock: Clock, effort: Effort
) -> list[Figure]:
    """Return every figure of a bundle. Without `trust` its signature is not judged. Raises BundleRefused."""
    manifest = verify_files(files, trust, allow_unsigned=trust is None)
    await verifier.check(files)
    return [
        *first_call_figures(files, manifest, clock),
        *hot_figures(files, manifest, clock, effort),
        *await paced_figures(files, manifest, clock, effort),
        *await load_figures(files, trust, verifier, clock, effort),
        *leak_figures(files, manifest, effort),
    ]


def circumstances() -> dict[str, Any]:
    """Return what the figures depend on besides the bundle: machine, versions, threads, and the SLO's figure."""
    import torch

    return {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": cpu_count(),
            "system": platform.system(),
        },
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
        "threads": torch.get_num_threads(),
        "slo": {"figure": SLO_FIGURE, "limit_us": SLO_US},
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
