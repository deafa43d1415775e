"""Runs policy.pt with TorchScript: on one CPU thread, or on a GPU when asked to."""

import io
import math
import threading
import warnings
from typing import Any, Self

import numpy as np

from bundles.errors import BundleRefused, PolicyError
from bundles.runtimes.checked import ObservationBuffer, check_answers, check_batch, first_line
from bundles.runtimes.protocol import Action, Actions, Floats
from bundles.runtimes.transposed import with_transposed_weights
from messages.status import RejectCode

_load_lock = threading.Lock()


class TorchScriptRuntime:
    """A PolicyRuntime over a frozen TorchScript graph. Load only bytes that scan.check_archive has accepted."""

    def __init__(self, graph: Any, obs_shape: tuple[int, ...], device: str = "cpu") -> None:
        import torch

        self._graph = graph
        self._forward = graph.forward
        self._obs_shape = obs_shape
        self._device, self._is_remote = device, device != "cpu"
        self._here = torch.zeros((1, *obs_shape), dtype=torch.float32, pin_memory=self._is_remote)
        self._input = self._here.to(device)
        self._fill = ObservationBuffer(self._here.numpy()[0]).fill

    @classmethod
    def load(cls, policy: bytes, obs_shape: tuple[int, ...], device: str = "cpu") -> Self:
        """Return the loaded policy, not yet warm. One load at a time; torch is set to one thread.

        `device`: "cpu", or "cuda" or "cuda:1" where there is such a GPU: worth it for wide networks and large batches.
        Raises BundleRefused LOAD_FAILED, also for a device that is not there.
        """
        graph = load_graph(with_transposed_weights(policy) if len(obs_shape) == 1 else policy, device)
        return cls(graph, obs_shape, device)

    @property
    def gains_from_batches(self) -> bool:
        return True

    @property
    def obs_shape(self) -> tuple[int, ...]:
        return self._obs_shape

    def act(self, observation: Floats) -> Action:
        self._fill(observation)
        try:
            if self._is_remote:
                self._input.copy_(self._here)
            action, outputs = self._forward(self._input)
        except RuntimeError as error:
            raise PolicyError(RejectCode.LOAD_FAILED, first_line(error)) from error
        # As of the observation: one sum is cheaper than a check of each.
        if not math.isfinite(sum(outputs.tolist()[0])):
            raise PolicyError(RejectCode.NOT_FINITE, "outputs hold NaN or infinity")
        if action.dim() == 1:
            return (float(action.item()),)
        answer = tuple(map(float, action.tolist()[0]))
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

        check_batch(observations, self._obs_shape)
        try:
            asked = torch.from_numpy(np.array(observations, dtype=np.float32)).to(self._device)
            action, outputs = self._forward(asked)
            actions, values = action.cpu().numpy(), outputs.cpu().numpy()
        except (RuntimeError, TypeError) as error:
            raise PolicyError(RejectCode.LOAD_FAILED, first_line(error)) from error
        check_answers(actions, values, len(observations))
        return actions, values


def load_graph(policy: bytes, device: str = "cpu") -> Any:
    """Return the graph of policy.pt as torch runs it. Only for bytes that scan.check_archive has accepted.

    Raises BundleRefused LOAD_FAILED.
    """
    import torch

    _check_device(device)
    with _load_lock:
        torch.set_num_threads(1)
        try:
            with warnings.catch_warnings():
                # torch.jit is deprecated as a whole; it stays the fastest way to serve any graph from plain bytes.
                warnings.simplefilter("ignore", FutureWarning)
                warnings.simplefilter("ignore", DeprecationWarning)
                # A graph specialised while it serves would cost milliseconds at the first new shape.
                torch.jit.set_fusion_strategy([("STATIC", 0)])
                load: Any = torch.jit.load
                return load(io.BytesIO(policy), map_location=device)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise BundleRefused(RejectCode.LOAD_FAILED, f"torch can't load policy.pt: {first_line(error)}") from error


def _check_device(device: str) -> None:
    import torch

    if device == "cpu":
        return
    kind, _, number = device.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    if not (number.isdecimal() or (not number and ":" not in device)) or int(number or 0) >= count:
        raise BundleRefused(
            RejectCode.LOAD_FAILED, f"the device {device!r} is not there, {count} GPUs are; serve on the device cpu"
        )
