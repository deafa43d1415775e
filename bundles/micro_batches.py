"""Many callers, one forward: observations that come at about the same time are asked of the policy together."""

import asyncio
from collections import deque

import numpy as np
from msgspec import Struct

from bundles.errors import PolicyError
from bundles.runtimes.protocol import Action, Floats, PolicyRuntime, wrong_observation
from messages import Clock
from messages.errors import Retryable
from messages.status import RejectCode


class NotServed(Retryable):
    """Raised when an observation was not taken, or not asked before the end."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the observation was not asked of the policy: {why}; ask again")
        self.why = why


class _Waiting(Struct, frozen=True):
    observation: Floats
    arrived_ns: int
    answer: asyncio.Future[Action]


class MicroBatches:
    """Asks a policy for up to `batch_size` callers at once; nobody waits longer than `max_wait_s` for company.

    At most `max_waiting` observations wait. Answers come in the order of the calls; a batch's bits may differ from
    those of `act` alone, so Execution, whose decisions are replayed, does without. The owner keeps `run` running.
    """

    def __init__(
        self,
        runtime: PolicyRuntime,
        clock: Clock,
        *,
        batch_size: int = 32,
        max_wait_s: float = 0.001,
        max_waiting: int = 1024,
    ) -> None:
        if batch_size < 1 or max_waiting < batch_size or max_wait_s < 0:
            raise ValueError(
                f"batch_size {batch_size}, max_waiting {max_waiting} and max_wait_s {max_wait_s} make no sense: "
                "1 <= batch_size <= max_waiting, 0 <= max_wait_s"
            )
        self._runtime, self._clock = runtime, clock
        self._batch_size, self._max_wait_s, self._max_waiting = batch_size, max_wait_s, max_waiting
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._full: asyncio.Future[bool] | None = None
        self._is_stopped = False

    async def act(self, observation: Floats) -> Action:
        """Return the action for one observation, float32 [*obs_shape]; nothing is kept of the argument.

        Raises PolicyError as the runtime's `act` does, for this observation alone; NotServed when too many wait, or
        when `run` ends before it was asked. Who is cancelled changes nothing for the others.
        """
        if getattr(observation, "shape", None) != self._runtime.obs_shape or observation.dtype != np.float32:
            raise wrong_observation(observation, self._runtime.obs_shape)
        if not np.isfinite(observation).all():
            raise PolicyError(RejectCode.NOT_FINITE, "the observation holds NaN or infinity")
        if self._is_stopped:
            raise NotServed("serving has ended")
        if len(self._waiting) >= self._max_waiting:
            raise NotServed(f"{self._max_waiting} wait already")
        answer: asyncio.Future[Action] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(observation.copy(), self._clock.now_ns(), answer))
        self._arrived.set()
        if self._full is not None and len(self._waiting) >= self._batch_size and not self._full.done():
            self._full.set_result(True)
        return await answer

    async def run(self) -> None:
        """Serve until cancelled; whoever still waits then gets NotServed."""
        try:
            while True:
                await self._arrived.wait()
                await self._company()
                self._serve([self._waiting.popleft() for _ in range(min(self._batch_size, len(self._waiting)))])
                if not self._waiting:
                    self._arrived.clear()
                await asyncio.sleep(0)  # a steady queue must not keep the loop to itself
        finally:
            self._is_stopped = True
            for waiting in self._waiting:
                if not waiting.answer.done():
                    waiting.answer.set_exception(NotServed("serving has ended"))
            self._waiting.clear()

    async def _company(self) -> None:
        left_s = self._max_wait_s - (self._clock.now_ns() - self._waiting[0].arrived_ns) / 1e9
        if len(self._waiting) < self._batch_size and left_s > 0:
            self._full = asyncio.get_running_loop().create_future()
            await self._clock.wait(self._full, left_s)
            self._full = None

    def _serve(self, batch: list[_Waiting]) -> None:
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        if not batch:
            return
        try:
            actions = self._runtime.act_batch(np.stack([waiting.observation for waiting in batch]))
        except PolicyError:
            # Which of them it was is found out one by one.
            for waiting in batch:
                self._serve_alone(waiting)
            return
        for waiting, action in zip(batch, actions, strict=True):
            waiting.answer.set_result(action)

    def _serve_alone(self, waiting: _Waiting) -> None:
        try:
            waiting.answer.set_result(self._runtime.act(waiting.observation))
        except PolicyError as error:
            waiting.answer.set_exception(error)
