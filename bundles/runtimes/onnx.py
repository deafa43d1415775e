"""Runs policy.onnx with ONNX Runtime on one CPU thread, over buffers that are there already. Needs the extra `onnx`."""

import math
from typing import Any, Self

import numpy as np

from bundles.errors import BundleRefused, PolicyError
from bundles.onnx_names import ACTION, OBSERVATION, OUTPUTS
from bundles.runtimes.protocol import Action, Actions, Floats, wrong_observation
from messages.status import RejectCode

_FEW = 256


class OnnxRuntime:
    """A PolicyRuntime over an ONNX graph. Load only bytes that scan_onnx.check_model has accepted."""

    def __init__(self, session: Any, obs_shape: tuple[int, ...]) -> None:
        self._session, self._obs_shape = session, obs_shape
        batch = np.zeros((1, *obs_shape), np.float32)
        action, outputs = self._answers(batch)
        if action.shape[:1] != (1,) or outputs.ndim != 2 or len(outputs) != 1 or outputs.dtype != np.float32:
            raise BundleRefused(
                RejectCode.WRONG_SHAPE, f"policy.onnx answers {action.shape} and {outputs.shape} {outputs.dtype}"
            )
        self._observation = batch[0]
        self._view: Any = memoryview(self._observation)
        self._is_small = len(obs_shape) == 1 and obs_shape[0] <= _FEW
        # Owned here: the binding knows their addresses alone.
        self._buffers = (batch, action.copy(), outputs.copy())
        self._action, self._outputs = self._buffers[1].reshape(-1), self._buffers[2][0]
        self._is_discrete = action.dtype.kind == "i"
        self._binding = session.io_binding()
        self._binding.bind_input(OBSERVATION, "cpu", 0, np.float32, batch.shape, batch.ctypes.data)
        for name, buffer in zip((ACTION, OUTPUTS), self._buffers[1:], strict=True):
            self._binding.bind_output(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)

    @classmethod
    def load(cls, model: bytes, obs_shape: tuple[int, ...]) -> Self:
        """Return the loaded policy, not yet warm. Raises BundleRefused LOAD_FAILED, also without onnxruntime."""
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what is wrong is raised
        try:
            return cls(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]), obs_shape)
        except BundleRefused:
            raise
        except Exception as error:  # its exceptions have no common class
            raise BundleRefused(
                RejectCode.LOAD_FAILED, f"onnxruntime can't load policy.onnx: {_first_line(error)}"
            ) from error

    @property
    def obs_shape(self) -> tuple[int, ...]:
        return self._obs_shape

    def act(self, observation: Floats) -> Action:
        if self._is_small:
            try:
                # One call that copies, and refuses another shape or type.
                self._view[:] = observation
            except (ValueError, TypeError) as error:
                raise wrong_observation(observation, self._obs_shape) from error
            is_finite = math.isfinite(sum(self._view.tolist()))
        else:
            if observation.shape != self._obs_shape or observation.dtype != np.float32:
                raise wrong_observation(observation, self._obs_shape)
            self._observation[...] = observation
            is_finite = bool(np.isfinite(self._observation).all())
        if not is_finite:
            raise PolicyError(RejectCode.NOT_FINITE, "the observation holds NaN or infinity")
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # its exceptions have no common class
            raise PolicyError(RejectCode.LOAD_FAILED, _first_line(error)) from error
        if not math.isfinite(sum(self._outputs.tolist())):
            raise PolicyError(RejectCode.NOT_FINITE, "outputs hold NaN or infinity")
        answer = self._action.tolist()
        if self._is_discrete:
            return tuple(map(float, answer))
        if not math.isfinite(sum(answer)):
            raise PolicyError(RejectCode.NOT_FINITE, "the action holds NaN or infinity")
        return tuple(answer)

    def act_batch(self, observations: Floats) -> list[Action]:
        actions, _ = self.forward(observations)
        return [tuple(map(float, row)) for row in actions.reshape(len(actions), -1).tolist()]

    def forward(self, observations: Floats) -> tuple[Actions, Floats]:
        if observations.shape[1:] != self._obs_shape:
            raise PolicyError(
                RejectCode.WRONG_SHAPE, f"observations have shape {observations.shape}, not [B, {self._obs_shape}]"
            )
        if not np.isfinite(observations).all():
            raise PolicyError(RejectCode.NOT_FINITE, "observations hold NaN or infinity")
        try:
            actions, outputs = self._answers(np.ascontiguousarray(observations, dtype=np.float32))
        except Exception as error:  # its exceptions have no common class
            raise PolicyError(RejectCode.LOAD_FAILED, _first_line(error)) from error
        rows = (len(observations),)
        if actions.shape[:1] != rows or outputs.shape[:1] != rows:
            raise PolicyError(RejectCode.WRONG_SHAPE, f"answers have shapes {actions.shape} and {outputs.shape}")
        if not (np.isfinite(outputs).all() and np.isfinite(actions).all()):
            raise PolicyError(RejectCode.NOT_FINITE, "outputs or actions hold NaN or infinity")
        return actions, outputs

    def _answers(self, observations: Floats) -> tuple[Actions, Floats]:
        action, outputs = self._session.run([ACTION, OUTPUTS], {OBSERVATION: observations})
        return action, outputs

    def warm(self, calls: int = 10) -> None:
        zeros = np.zeros(self._obs_shape, dtype=np.float32)
        for _ in range(max(calls, 10)):
            self.act(zeros)


def import_onnxruntime() -> Any:
    """Return the package. Raises BundleRefused LOAD_FAILED when it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleRefused(
            RejectCode.LOAD_FAILED, "onnxruntime is not installed: `pip install tickpilot[onnx]`"
        ) from error
    return onnxruntime


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
