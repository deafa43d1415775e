"""Runs policy.pt with TorchScript on one CPU thread."""

import io
import math
import threading
import warnings
from typing import Any, Self

import numpy as np

from bundles.errors import BundleRefused, PolicyError
from bundles.runtimes.protocol import Action, Actions, Floats
from messages.status import RejectCode

_load_lock = threading.Lock()


class TorchScriptRuntime:
    """A PolicyRuntime over a frozen TorchScript graph. Load only bytes that scan.check_archive has accepted."""

    def __init__(self, graph: Any, obs_shape: tuple[int, ...]) -> None:
        import torch

        self._graph = graph
        self._forward = graph.forward
        self._obs_shape = obs_shape
        self._input = torch.zeros((1, *obs_shape), dtype=torch.float32)
        self._row = self._input.numpy()[0]

    @classmethod
    def load(cls, policy: bytes, obs_shape: tuple[int, ...]) -> Self:
        """Return the loaded policy, not yet warm. One load at a time; torch is set to one thread.

        Raises BundleRefused LOAD_FAILED.
        """
        import torch

        with _load_lock:
            torch.set_num_threads(1)
            try:
                with warnings.catch_warnings():
                    # torch.jit is deprecated as a whole; it stays the fastest way to serve from plain bytes.
                    warnings.simplefilter("ignore", FutureWarning)
                    warnings.simplefilter("ignore", DeprecationWarning)
                    # A graph specialised while it serves would cost milliseconds at the first new shape.
                    torch.jit.set_fusion_strategy([("STATIC", 0)])
                    load: Any = torch.jit.load
                    graph = load(io.BytesIO(policy), map_location="cpu")
            except (RuntimeError, ValueError, MemoryError) as error:
                raise BundleRefused(
                    RejectCode.LOAD_FAILED, f"torch can't load policy.pt: {_first_line(error)}"
                ) from error
        return cls(graph, obs_shape)

    @property
    def obs_shape(self) -> tuple[int, ...]:
        return self._obs_shape

    def act(self, observation: Floats) -> Action:
        self._row[...] = observation
        try:
            action, outputs = self._forward(self._input)
        except RuntimeError as error:
            raise PolicyError(RejectCode.LOAD_FAILED, _first_line(error)) from error
        # A sum of float32 numbers is finite in float64 when all of them are: cheaper than a check of each.
        if not math.isfinite(sum(outputs.tolist()[0])):
            raise PolicyError(RejectCode.NOT_FINITE, "outputs hold NaN or infinity")
        if action.dim() == 1:
            return (float(action.item()),)
        answer = tuple(action[0].tolist())
        if not math.isfinite(sum(answer)):
            raise PolicyError(RejectCode.NOT_FINITE, "the action holds NaN or infinity")
        return answer

    def act_batch(self, observations: Floats) -> list[Action]:
        actions, _ = self.forward(observations)
        return (
            [(float(action),) for action in actions] if actions.ndim == 1 else [tuple(row) for row in actions.tolist()]
        )

    def forward(self, observations: Floats) -> tuple[Actions, Floats]:
        import torch

        if observations.shape[1:] != self._obs_shape:
            raise PolicyError(
                RejectCode.WRONG_SHAPE, f"observations have shape {observations.shape}, not [B, {self._obs_shape}]"
            )
        try:
            action, outputs = self._forward(torch.from_numpy(np.array(observations, dtype=np.float32)))
            actions, values = action.numpy(), outputs.numpy()
        except (RuntimeError, TypeError) as error:
            raise PolicyError(RejectCode.LOAD_FAILED, _first_line(error)) from error
        rows = (len(observations),)
        if actions.shape[:1] != rows or values.shape[:1] != rows or values.dtype != np.float32:
            raise PolicyError(
                RejectCode.WRONG_SHAPE, f"answers have shapes {actions.shape} and {values.shape} {values.dtype}"
            )
        if not (np.isfinite(values).all() and np.isfinite(actions).all()):
            raise PolicyError(RejectCode.NOT_FINITE, "outputs or actions hold NaN or infinity")
        return actions, values

    def warm(self, calls: int = 10) -> None:
        zeros = np.zeros(self._obs_shape, dtype=np.float32)
        for _ in range(max(calls, 10)):
            self.act(zeros)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
