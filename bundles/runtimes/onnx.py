"""Runs policy.onnx with ONNX Runtime on one CPU thread, over buffers that are there already. Needs the extra `onnx`."""

import math
from typing import Any, Self

import numpy as np

from bundles.errors import BundleRefused, PolicyError
from bundles.runtimes.checked import ObservationBuffer, check_answers, check_batch, first_line
from bundles.runtimes.onnx_names import ACTION, OBSERVATION, OUTPUTS
from bundles.runtimes.protocol import Action, Actions, Floats
from messages.status import RejectCode


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
        self._fill = ObservationBuffer(batch[0]).fill
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
                RejectCode.LOAD_FAILED, f"onnxruntime can't load policy.onnx: {first_line(error)}"
            ) from error

    @property
    def gains_from_batches(self) -> bool:
        return True

    @property
    def obs_shape(self) -> tuple[int, ...]:
        return self._obs_shape

    def act(self, observation: Floats) -> Action:
        self._fill(observation)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # its exceptions have no common class
            raise PolicyError(RejectCode.LOAD_FAILED, first_line(error)) from error
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
        check_batch(observations, self._obs_shape)
        try:
            actions, outputs = self._answers(np.ascontiguousarray(observations, dtype=np.float32))
        except Exception as error:  # its exceptions have no common class
            raise PolicyError(RejectCode.LOAD_FAILED, first_line(error)) from error
        check_answers(actions, outputs, len(observations))
        return actions, outputs

    def _answers(self, observations: Floats) -> tuple[Actions, Floats]:
        action, outputs = self._session.run([ACTION, OUTPUTS], {OBSERVATION: observations})
        return action, outputs


def import_onnxruntime() -> Any:
    """Return the package. Raises BundleRefused LOAD_FAILED when it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleRefused(
            RejectCode.LOAD_FAILED, "onnxruntime is not installed: `pip install tickpilot[onnx]`"
        ) from error
    return onnxruntime
