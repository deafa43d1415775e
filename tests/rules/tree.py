"""The rules of the house, as functions from source to what breaks them."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("messages", "bundles", "agents")

# Who may import whom, besides themselves; the first match of the longest prefix counts.
MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "messages": (),
    "bundles": ("messages",),
    "agents.errors": ("messages",),
    "agents.lifecycle": ("messages",),
    "agents.risk": ("messages", "agents.errors", "agents.lifecycle"),
    "agents.execution.shard": ("messages", "bundles", "agents.errors", "agents.risk", "agents.execution.errors"),
    "agents.execution": ("messages", "bundles", "agents.errors", "agents.lifecycle", "agents.risk"),
    "agents.venue": ("messages", "agents.errors", "agents.lifecycle", "agents.risk"),
    "agents.feed": ("messages", "agents.errors", "agents.lifecycle", "agents.risk"),
    "agents.trainer": ("messages", "bundles", "agents.errors", "agents.lifecycle", "agents.risk"),
    "agents.orchestrator": ("messages", "bundles", "agents.errors", "agents.lifecycle"),
    "agents.settings": ("messages", "bundles", "agents"),
    "agents.assembly": ("messages", "bundles", "agents"),
    "agents.replay": (
        "messages", "bundles", "agents.errors", "agents.execution", "agents.risk", "agents.settings", "agents.assembly",
    ),
    "agents.report": ("messages", "agents.errors", "agents.replay", "agents.risk", "agents.execution"),
    "agents.demo": ("messages", "bundles", "agents"),
    "agents.cli": ("messages", "bundles", "agents"),
    "agents": ("agents",),
}  # fmt: skip

READS_TIME = re.compile(
    r"\btime\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns)\b|\bdatetime\.now\b"
)
READS_ENVIRONMENT = re.compile(r"\bos\.environ\b|\bos\.getenv\b")
MAKES_TASKS = re.compile(r"\bcreate_task\b|\bensure_future\b")
URL = re.compile(r"https?://([A-Za-z0-9.-]+)")
# Names of formats and of things one reads; nothing is ever fetched from an address that stands in the repository.
KNOWN_HOSTS = frozenset(
    {"github.com", "json-schema.org", "localhost", "maven.apache.org", "www.apache.org", "www.w3.org"}
)


def python_files(*folders: str) -> list[Path]:
    """Every tracked or new Python file below the folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tracked_files() -> list[Path]:
    """Every file that git tracks."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines()]


def module_of(path: Path) -> str:
    """`agents.risk.gate` for agents/risk/gate.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(source: str) -> Iterator[str]:
    """The modules that a source imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def wrong_imports(module: str, source: str) -> list[str]:
    """What the module imports of ours and may not."""
    owner = max((prefix for prefix in MAY_IMPORT if _is_in(module, prefix)), key=len)
    allowed = (owner, *MAY_IMPORT[owner])
    ours = [name for name in imports_of(source) if name.split(".")[0] in PACKAGES]
    return [name for name in ours if not any(_is_in(name, prefix) for prefix in allowed)]


def _is_in(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def lines_matching(pattern: re.Pattern[str], source: str) -> Iterable[str]:
    """The code lines that match, comments left out."""
    return [line.strip() for line in source.splitlines() if pattern.search(line.split("#")[0])]


def strange_text(source: str) -> list[str]:
    """Hosts that are not known ones, and the path of this checkout."""
    found = [host for host in URL.findall(source) if host not in KNOWN_HOSTS]
    return found + ([str(ROOT)] if str(ROOT) in source else [])
