"""House rules, each shown a bad sample that it must catch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules import tree

CODE = tree.python_files(*tree.PACKAGES)
MAX_LINES = 400
TIME = {"messages/clock.py"}
ENVIRONMENT = {"agents/settings.py"}
TASKS = {"agents/lifecycle/supervisor.py"}


def name_of(path: Path) -> str:
    return path.relative_to(tree.ROOT).as_posix()


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    assert tree.wrong_imports(tree.module_of(path), path.read_text()) == []


def test_a_wrong_import_is_caught() -> None:
    assert tree.wrong_imports("messages.orders", "from agents.risk import gate") == ["agents.risk"]
    assert tree.wrong_imports("agents.risk.gate", "import agents.execution.shard") == ["agents.execution.shard"]
    assert tree.wrong_imports("bundles.loader", "def f():\n    import agents.risk") == ["agents.risk"]


def test_the_shard_waits_for_nothing() -> None:
    awaiting = {name_of(p) for p in CODE if "asyncio" in p.read_text() or "async def" in p.read_text()}
    assert not {name for name in awaiting if name.startswith("agents/execution/shard/")}
    assert "agents/execution/agent.py" in awaiting


def test_only_the_clock_reads_time() -> None:
    # Started processes and a local broker are waited for in real time, outside every decision.
    outside = {"agents/lifecycle/local_kafka.py", "messages/bus/kafka/calls.py", "agents/trainer/process.py"}
    found = {name_of(p) for p in CODE if tree.lines_matching(tree.READS_TIME, p.read_text())}
    assert found <= TIME | outside
    assert tree.lines_matching(tree.READS_TIME, "now = time.time_ns()")


def test_only_the_settings_read_the_environment() -> None:
    passed_on = {"agents/lifecycle/local_kafka.py", "agents/trainer/process.py"}  # to the processes they start
    found = {name_of(p) for p in CODE if tree.lines_matching(tree.READS_ENVIRONMENT, p.read_text())}
    assert found <= ENVIRONMENT | passed_on
    assert tree.lines_matching(tree.READS_ENVIRONMENT, "home = os.environ['HOME']")


def test_every_task_has_an_owner() -> None:
    found = {name_of(p) for p in CODE if tree.lines_matching(tree.MAKES_TASKS, p.read_text())}
    assert {name for name in found if not name.startswith("messages/bus/")} <= TASKS
    assert tree.lines_matching(tree.MAKES_TASKS, "asyncio.create_task(work())")


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_no_file_names_a_strange_host_or_a_path_of_one_machine() -> None:
    texts = [path for path in tree.tracked_files() if path.suffix not in {".gz", ".png"} and path.exists()]
    found = {name_of(path): strange for path in texts if (strange := tree.strange_text(path.read_text()))}
    assert found == {}


def test_a_strange_host_and_a_path_of_this_machine_are_caught() -> None:
    assert tree.strange_text("see https" + "://packages.example/simple") == ["packages.example"]
    assert tree.strange_text(f"cd {tree.ROOT}/agents") == [str(tree.ROOT)]
    assert tree.strange_text("see https://github.com/x/y") == []


PUBLIC = {
    "bundles": ["TorchScriptPolicy", "export_policy", "load_bundle"],
    "agents.execution": ["create_execution_agent_stub"],
    "agents.risk": ["RiskAdvisor", "RiskEngine"],
}


@pytest.mark.parametrize("package", PUBLIC)
def test_what_a_package_exports_is_frozen(package: str) -> None:
    module = __import__(package, fromlist=["__all__"])
    assert module.__all__ == PUBLIC[package]
    assert all(hasattr(module, name) for name in PUBLIC[package])


def test_messages_exports_what_the_design_promises() -> None:
    import messages

    assert list(messages.__all__) == sorted(messages.__all__, key=lambda name: (not name.isupper(), name))
    assert {"connect", "decode", "encode", "TOPICS", "Quote", "Order", "BundleReady"} <= set(messages.__all__)


@pytest.mark.parametrize("package", ["messages", "bundles", "agents.risk", "agents.cli.main"])
def test_importing_does_not_load_the_heavy_libraries(package: str) -> None:
    heavy = "torch stable_baselines3 gymnasium pyarrow matplotlib"
    code = f"import sys, {package}; print([name for name in '{heavy}'.split() if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=tree.ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_agents_that_are_imported_are_ours() -> None:
    import agents

    assert Path(agents.__path__[0]).resolve() == tree.ROOT / "agents"
