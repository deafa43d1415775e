"""How long a policy takes: calls alone, in alternation, at a pace. Figures for people, never for decisions."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from msgspec import Struct

from bundles.runtimes.protocol import Floats, PolicyRuntime
from messages import Clock

SLO_US = 100.0  # what a call of the policy may take at the 99th percentile
KEEP_WARM_S = 0.001  # how often a policy is called for nothing, so that the next real call finds it in the caches
_WARM_CALLS = 100

Samples = np.ndarray[Any, np.dtype[np.float64]]
Call = Callable[[Floats], object]


class Times(Struct, frozen=True, kw_only=True):
    """Times of single calls in microseconds."""

    trials: int
    mean_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    p999_us: float
    max_us: float


def times_of(samples_us: Samples) -> Times:
    """Return the figures of samples in microseconds; a percentile is the smallest sample not below so many of them."""
    p50, p95, p99, p999 = np.percentile(samples_us, (50, 95, 99, 99.9), method="higher").tolist()
    return Times(
        trials=len(samples_us),
        mean_us=float(samples_us.mean()),
        p50_us=p50,
        p95_us=p95,
        p99_us=p99,
        p999_us=p999,
        max_us=float(samples_us.max()),
    )


def sample_observations(obs_shape: tuple[int, ...], count: int = 64) -> list[Floats]:
    """Return seeded observations, float32 [*obs_shape] each."""
    return list(np.random.default_rng(0).standard_normal((count, *obs_shape)).astype(np.float32))


def time_calls(call: Call, observations: Sequence[Floats], clock: Clock, trials: int) -> Samples:
    """Return the microseconds of each of `trials` calls. Raises ValueError for less than one."""
    if trials < 1:
        raise ValueError(f"num_trials is {trials}, must be at least 1")
    samples, perf_ns, count = np.empty(trials), clock.perf_ns, len(observations)
    for n in range(trials):
        observation = observations[n % count]
        began = perf_ns()
        call(observation)
        samples[n] = perf_ns() - began
    return samples / 1e3


def compare(
    calls: Mapping[str, Call], observations: Sequence[Floats], clock: Clock, *, rounds: int, trials: int
) -> dict[str, Times]:
    """Return the times of each call: rounds of `trials` calls, alternating; each figure is that of the median round."""
    for call in calls.values():
        time_calls(call, observations, clock, _WARM_CALLS)
    taken: dict[str, list[Times]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(times_of(time_calls(call, observations, clock, trials)))
    return {name: _median(times) for name, times in taken.items()}


def _median(rounds: Sequence[Times]) -> Times:
    figures = {name: median(getattr(times, name) for times in rounds) for name in Times.__struct_fields__}
    return Times(**{**figures, "trials": sum(times.trials for times in rounds)})


def bare_call(policy: bytes, obs_shape: tuple[int, ...]) -> Call:
    """Return the baseline: the frozen graph of policy.pt as torch runs it, on one tensor that is there already."""
    import torch

    from bundles.runtimes.torchscript import load_graph

    forward, observation = load_graph(policy).forward, torch.zeros((1, *obs_shape))
    return lambda _: forward(observation)


async def paced_calls(
    runtime: PolicyRuntime, clock: Clock, *, per_second: float, trials: int, is_kept_warm: bool
) -> Times:
    """Return the times of `trials` calls of `act` at a pace; kept warm, it is also called for nothing in between."""
    observations = sample_observations(runtime.obs_shape)
    idle = np.zeros(runtime.obs_shape, np.float32)
    pauses = max(1, round(1 / per_second / KEEP_WARM_S)) if is_kept_warm else 1
    samples = np.empty(trials)
    for n in range(trials):
        await clock.sleep(1 / per_second / pauses)
        for _ in range(pauses - 1):
            runtime.act(idle)
            await clock.sleep(1 / per_second / pauses)
        samples[n] = time_calls(runtime.act, (observations[n % 64],), clock, 1)[0]
    return times_of(samples)
