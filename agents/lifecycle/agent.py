"""What every agent is: a thin shell with three verbs."""

from typing import Protocol


class Agent(Protocol):
    """An asyncio shell around a pure core. Made with its config, a bus and a clock; owns all that it starts."""

    @property
    def agent_id(self) -> str:
        """Unique in the cluster, e.g. `execution-1`."""
        ...

    async def start(self) -> None:
        """Return when ready: topics read as far as needed, consumers and producers up."""
        ...

    async def run(self) -> None:
        """Work until stopped; raise when something that the agent depends on has died."""
        ...

    async def stop(self) -> None:
        """Finish what is under way, flush, commit and close, within the deadline. Safe to call twice."""
        ...
