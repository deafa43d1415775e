"""What every backend checks of observations on their way in, and of answers on their way out."""

import math
from typing import Any

import numpy as np

from bundles.errors import PolicyError
from bundles.runtimes.protocol import Actions, Floats, wrong_observation
from messages.status import RejectCode

# Up to so many numbers, Python's own sum finds NaN and infinity faster than numpy does.
_FEW = 256


class ObservationBuffer:
    """Where a backend takes its observation from: float32 [*obs_shape], checked while it is copied in."""

    __slots__ = ("_is_small", "_view", "array")

    def __init__(self, array: Floats) -> None:
        self.array = array
        self._view: Any = memoryview(array)  # type: ignore[arg-type]
        self._is_small = array.ndim == 1 and array.size <= _FEW

    def fill(self, observation: Floats) -> None:
        """Copy an observation in. Raises PolicyError WRONG_SHAPE for another shape or type, NOT_FINITE."""
        if self._is_small:
            try:
                # One call that copies, and refuses another shape or type.
                self._view[:] = observation
            except (ValueError, TypeError) as error:
                raise wrong_observation(observation, self.array.shape) from error
            # A sum of float32 numbers is finite in float64 when all of them are: cheaper than a check of each.
            is_finite = math.isfinite(sum(self._view.tolist()))
        else:
            if observation.shape != self.array.shape or observation.dtype != np.float32:
                raise wrong_observation(observation, self.array.shape)
            self.array[...] = observation
            is_finite = bool(np.isfinite(self.array).all())
        if not is_finite:
            raise PolicyError(RejectCode.NOT_FINITE, "the observation holds NaN or infinity")


def check_batch(observations: Floats, obs_shape: tuple[int, ...]) -> None:
    """Raise PolicyError unless these are finite [B, *obs_shape]."""
    if observations.shape[1:] != obs_shape:
        raise PolicyError(RejectCode.WRONG_SHAPE, f"observations have shape {observations.shape}, not [B, {obs_shape}]")
    if not np.isfinite(observations).all():
        raise PolicyError(RejectCode.NOT_FINITE, "observations hold NaN or infinity")


def check_answers(actions: Actions, outputs: Floats, rows: int) -> None:
    """Raise PolicyError unless these are finite answers to so many rows."""
    if actions.shape[:1] != (rows,) or outputs.shape[:1] != (rows,) or outputs.dtype != np.float32:
        raise PolicyError(
            RejectCode.WRONG_SHAPE, f"answers have shapes {actions.shape} and {outputs.shape} {outputs.dtype}"
        )
    if not (np.isfinite(outputs).all() and np.isfinite(actions).all()):
        raise PolicyError(RejectCode.NOT_FINITE, "outputs or actions hold NaN or infinity")


def first_line(error: BaseException) -> str:
    """Return what the last line of a library's error says: its traceback stands above."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
