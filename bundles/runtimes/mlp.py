"""Runs policies that are one chain of layers in a compiled loop: microseconds, and no torch."""

from typing import Self

import numpy as np

from bundles.errors import BundleRefused, PolicyError
from bundles.runtimes import mlp_kernel
from bundles.runtimes.checked import ObservationBuffer, check_batch
from bundles.runtimes.mlp_program import MlpProgram, mlp_program
from bundles.runtimes.protocol import Action, Actions, Floats
from messages.status import RejectCode

_NOT_FINITE = {
    mlp_kernel.BAD_OBSERVATION: "the observation holds NaN or infinity",
    mlp_kernel.BAD_ANSWER: "outputs or actions hold NaN or infinity",
}


class MlpRuntime:
    """A PolicyRuntime over a program. Load only bytes that scan.check_archive has accepted."""

    def __init__(self, program: MlpProgram, obs_shape: tuple[int, ...]) -> None:
        self._run, self._run_all = mlp_kernel.compile_kernel()
        self._program, self._obs_shape = program, obs_shape
        self._lines, self._memory, self._weights = program.lines, program.memory.copy(), program.weights
        action_at, self._row_shape = program.output_size, (program.observation_size,)
        self._buffer = ObservationBuffer(np.zeros(obs_shape, np.float32))
        self._row = self._buffer.array.reshape(-1)
        self._action = self._memory[action_at : action_at + program.action_size]

    @classmethod
    def load(cls, policy: bytes, obs_shape: tuple[int, ...]) -> Self:
        """Return the loaded policy. Raises BundleRefused LOAD_FAILED when it is no chain of layers."""
        program = mlp_program(policy, obs_shape)
        if program is None:
            raise BundleRefused(
                RejectCode.LOAD_FAILED, "policy.pt is no chain of layers; the runtime torchscript serves any graph"
            )
        return cls(program, obs_shape)

    @property
    def gains_from_batches(self) -> bool:
        return False  # a row costs what it costs; the rest is overhead

    @property
    def obs_shape(self) -> tuple[int, ...]:
        return self._obs_shape

    def act(self, observation: Floats) -> Action:
        try:
            if observation.shape != self._row_shape:
                raise TypeError  # noqa: TRY301 - it goes the same way as what the compiled loop refuses
            outcome = self._run(self._lines, self._memory, self._weights, observation)
        except (TypeError, AttributeError):
            self._buffer.fill(observation)  # of several dimensions, read-only, or of a wrong kind: that is said here
            outcome = self._run(self._lines, self._memory, self._weights, self._row)
        if outcome:
            raise PolicyError(RejectCode.NOT_FINITE, _NOT_FINITE[outcome])
        return tuple(self._action.tolist())

    def act_batch(self, observations: Floats) -> list[Action]:
        actions, _ = self.forward(observations)
        return [tuple(row) for row in actions.reshape(len(actions), -1).astype(np.float64).tolist()]

    def forward(self, observations: Floats) -> tuple[Actions, Floats]:
        check_batch(observations, self._obs_shape)
        rows = np.array(observations, dtype=np.float32, order="C").reshape(len(observations), -1)  # may be read-only
        outputs = np.empty((len(rows), self._program.output_size), dtype=np.float32)
        actions = np.empty((len(rows), self._program.action_size))
        if outcome := self._run_all(self._lines, self._memory, self._weights, rows, outputs, actions):
            raise PolicyError(RejectCode.NOT_FINITE, _NOT_FINITE[outcome])
        if self._program.is_discrete:
            return actions[:, 0].astype(np.int64), outputs
        return actions.astype(np.float32), outputs
