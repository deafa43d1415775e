"""Loads a bundle and serves it where only the base dependencies can be imported. Run as a script: BUNDLE TRUST."""

import json
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from types import ModuleType

OURS = {"agents", "bundles", "messages"}


def base_distributions() -> set[str]:
    """The distributions that `pip install tickpilot` brings: those of pyproject.toml and what they need, no extras."""
    import tomllib

    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    pending = [name_of(line) for line in project["dependencies"]]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        try:
            needs = distribution(name).requires or []
        except ModuleNotFoundError:
            continue  # for another platform
        found.add(name)
        pending += [name_of(line) for line in needs if "extra ==" not in line]
    return found


def name_of(requirement: str) -> str:
    matched = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", matched[0]).lower() if matched else ""


class OnlyBase:
    """Finds nothing that comes from elsewhere: for the importing code it is not installed."""

    def __init__(self) -> None:
        base = base_distributions()
        by_module = packages_distributions()
        self.refused = {
            module for module, names in by_module.items() if not {name_of(name) for name in names} & base
        } - OURS

    def find_spec(self, name: str, _: Sequence[str] | None = None, __: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in self.refused:
            raise ModuleNotFoundError(f"No module named {name!r}, it is no base dependency", name=name)
        return None


def main(bundle: str, trust: str) -> None:
    only_base = OnlyBase()
    sys.meta_path.insert(0, only_base)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import numpy as np

    from agents.execution import create_execution_agent_stub

    agent = create_execution_agent_stub(bundle, trust=trust)
    observation = np.ones(agent.bundle.manifest.obs_shape, np.float32)
    action, _ = agent.predict(observation)
    answer = {
        "predicted": action,
        "acted": agent.bundle.runtime.act(observation),
        "trials": agent.validate_slo_compliance(20).trials,
        "refused": sorted(only_base.refused),
        "imported": sorted(name for name in only_base.refused if name in sys.modules),
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
