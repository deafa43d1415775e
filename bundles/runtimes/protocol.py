"""What every policy backend does, whatever it runs on."""

from typing import Any, Protocol

import numpy as np

from bundles.errors import PolicyError
from messages.status import RejectCode

Floats = np.ndarray[Any, np.dtype[np.float32]]
Actions = np.ndarray[Any, np.dtype[Any]]
Action = tuple[float, ...]
BATCH_SIZES = (8, 32)  # batches are padded to these, so that a new shape never has to be prepared while it is traded


class PolicyRuntime(Protocol):
    """A loaded policy, always greedy. Not for two threads at once.

    Discrete actions are whole numbers (int64), continuous ones float32; `outputs` are logits, Q-values or the mean.
    All calls raise PolicyError when an answer holds NaN or infinity or has another shape than promised.
    """

    @property
    def gains_from_batches(self) -> bool:
        """Whether several observations cost less in one forward than one by one."""
        ...

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """The shape of one observation, without a batch dimension."""
        ...

    def act(self, observation: Floats) -> Action:
        """Return the action for one observation, float32 [*obs_shape]: `(2.0,)` when discrete, `(0.31,)` if not.

        The hot path: tens of microseconds, nothing kept of the argument. Raises PolicyError WRONG_SHAPE for another
        shape or type, NOT_FINITE for an observation with NaN or infinity.
        """
        ...

    def act_batch(self, observations: Floats) -> list[Action]:
        """Return the action of each row of float32 [B, *obs_shape]. Bits may differ from `act`'s."""
        ...

    def forward(self, observations: Floats) -> tuple[Actions, Floats]:
        """Return (actions [B] or [B, k], outputs [B, k]) for float32 [B, *obs_shape]."""
        ...


def warm(runtime: PolicyRuntime, calls: int = 10) -> None:
    """Call a runtime with zeros until it is as fast as it gets: the first calls of each shape cost milliseconds."""
    zeros = np.zeros(runtime.obs_shape, dtype=np.float32)
    for _ in range(max(calls, 10)):
        runtime.act(zeros)
    for size in BATCH_SIZES:
        runtime.act_batch(np.stack([zeros] * size))


def wrong_observation(observation: Any, obs_shape: tuple[int, ...]) -> PolicyError:
    """Return the error for an observation that is not float32 of this shape."""
    shape, dtype = getattr(observation, "shape", None), getattr(observation, "dtype", type(observation).__name__)
    return PolicyError(RejectCode.WRONG_SHAPE, f"the observation is {dtype} {shape}, not float32 {obs_shape}")
