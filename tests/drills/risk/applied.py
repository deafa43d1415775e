"""Which steps took which inputs in, from `decisions`. Reads only what is new."""

from collections import defaultdict

from tests.journeys.plain_kafka import Json, Log


class Applied:
    """Knows the first step of each shard that had a record of `control`, and those that heard of Risk."""

    def __init__(self, log: Log) -> None:
        self._log, self._batches = log, 0
        self._control: dict[int, dict[int, Json]] = defaultdict(dict)
        self.steps: list[tuple[int, Json]] = []

    def control(self, offset: int) -> dict[int, Json]:
        """Return, by shard, the step that applied the record at `offset`."""
        self._take()
        return self._control[offset]

    def hears_of_risk(self, *, alive: bool, since_ns: int) -> dict[int, Json]:
        """Return, by shard, the first step after a time (step clock) that was told whether Risk is alive."""
        self._take()
        found: dict[int, Json] = {}
        for shard, logged in self.steps:
            inputs = logged["step"].get("inputs", ())
            is_told = any(entry["type"] == "RiskAlive" and entry["alive"] is alive for entry in inputs)
            if is_told and logged["step"]["clock_ns"] >= since_ns:
                found.setdefault(shard, logged)
        return found

    def _take(self) -> None:
        batches = self._log.of("decisions", after=self._batches)
        self._batches += len(batches)
        for batch in batches:
            for logged in batch.get("steps", ()):
                inputs = logged["step"].get("inputs", ())
                for entry in inputs:
                    if entry["type"] == "ControlApplied":
                        self._control[entry["offset"]].setdefault(batch["partition"], logged)
                if any(entry["type"] == "RiskAlive" for entry in inputs):
                    self.steps.append((batch["partition"], logged))
