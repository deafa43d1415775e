"""The compiled part of the mlp runtime: one loop over a program, until `compile_kernel` compiles it.

The memory of a program is one block of float64: the outputs, the action, two vectors to work in, and the constants. The
layers' weights stand apart, in float32: they have to fit into the processor's first cache. A line of the program is
(operation, inputs, outputs, place of its numbers, whether the result is rounded to float32). Sums are made in float64,
in the order of the inputs, without reassociation or fused operations: the same numbers give the same bits on every
machine, but for tanh, which is the C library's.

The constants live here because numba's cache looks at this file alone to see whether it is stale.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from bundles.compiled import compile_in_place

LINEAR, ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM, RELU, TANH, ROUND, OUTPUTS, ARGMAX = range(12)
# The program's first line: how much of the memory each part takes. The numbers follow.
OBSERVATION, N_OUTPUTS, N_ACTION, WIDTH, FIRST_NUMBER = range(5)
COLUMNS = 5
DONE, BAD_OBSERVATION, BAD_ANSWER = range(3)


def _linear(source: Any, weights: Any, target: Any) -> None:
    """Target = bias + weights^T source; `weights` holds the bias, then the weights of each input."""
    size = target.shape[0]
    for out in range(size):
        target[out] = weights[out]
    for index in range(source.shape[0]):
        value = source[index]
        row = weights[(index + 1) * size : (index + 2) * size]
        for out in range(size):
            target[out] += row[out] * value


def run(program: Any, memory: Any, weights: Any, observation: Any) -> int:  # noqa: C901, PLR0912 - one flat list of operations
    """Run the program on an observation; return DONE, or whose numbers are not finite."""
    size = program[0, OBSERVATION]
    action_at = program[0, N_OUTPUTS]
    here = action_at + program[0, N_ACTION]
    there = here + program[0, WIDTH]
    for index in range(size):
        if not math.isfinite(observation[index]):
            return BAD_OBSERVATION
        memory[here + index] = observation[index]
    for line in range(1, program.shape[0]):
        operation, inputs, size, numbers = program[line, 0], program[line, 1], program[line, 2], program[line, 3]
        if operation == LINEAR:
            _linear(
                memory[here : here + inputs],
                weights[numbers : numbers + (inputs + 1) * size],
                memory[there : there + size],
            )
            here, there = there, here
        elif operation == ADD:
            for index in range(size):
                memory[here + index] += memory[numbers + index]
        elif operation == SUBTRACT:
            for index in range(size):
                memory[here + index] -= memory[numbers + index]
        elif operation == MULTIPLY:
            for index in range(size):
                memory[here + index] *= memory[numbers + index]
        elif operation == DIVIDE:
            for index in range(size):
                memory[here + index] /= memory[numbers + index]
        elif operation == MAXIMUM:
            for index in range(size):
                memory[here + index] = max(memory[here + index], memory[numbers + index])
        elif operation == MINIMUM:
            for index in range(size):
                memory[here + index] = min(memory[here + index], memory[numbers + index])
        elif operation == RELU:
            for index in range(size):
                memory[here + index] = max(memory[here + index], 0.0)
        elif operation == TANH:
            for index in range(size):
                memory[here + index] = math.tanh(memory[here + index])
        elif operation == OUTPUTS:
            for index in range(size):
                memory[index] = memory[here + index]
                if not math.isfinite(memory[here + index]):
                    return BAD_ANSWER
        elif operation == ARGMAX:
            best = 0
            for index in range(1, inputs):
                if memory[here + index] > memory[here + best]:
                    best = index
            memory[here] = best
        if program[line, 4]:
            for index in range(size):
                memory[here + index] = np.float32(memory[here + index])
    for index in range(program[0, N_ACTION]):
        memory[action_at + index] = memory[here + index]
        if not math.isfinite(memory[here + index]):
            return BAD_ANSWER
    return DONE


def run_all(program: Any, memory: Any, weights: Any, observations: Any, outputs: Any, actions: Any) -> int:
    """Run the program on each row; the answers go into `outputs` and `actions`."""
    action_at = program[0, N_OUTPUTS]
    for row in range(observations.shape[0]):
        outcome = run(program, memory, weights, observations[row])
        if outcome != DONE:
            return outcome
        for index in range(outputs.shape[1]):
            outputs[row, index] = memory[index]
        for index in range(actions.shape[1]):
            actions[row, index] = memory[action_at + index]
    return DONE


_PROGRAM = "int64[:, ::1], float64[::1], float32[::1]"
_SIGNATURES = {
    "_linear": "void(float64[::1], float32[::1], float64[::1])",
    "run": f"int64({_PROGRAM}, float32[::1])",
    "run_all": f"int64({_PROGRAM}, float32[:, ::1], float32[:, ::1], float64[:, ::1])",
}  # callees first


@cache
def compile_kernel() -> tuple[Callable[..., int], Callable[..., int]]:
    """Compile the functions of this module in place and return (run, run_all)."""
    compile_in_place(globals(), _SIGNATURES)
    return globals()["run"], globals()["run_all"]
