"""Runs already made, so that a benchmark that was stopped goes on where it was.

A run is known by its content: the workload's numbers, the hardware, the policy's name and the code that the policy
is made of (modules of the package that its own module imports, without comments and docstrings). What other files
say does not matter, so that a change elsewhere makes nothing run again.
"""

import ast
import hashlib
import importlib.util
import json
import os
from functools import cache
from pathlib import Path

from larder.core.simulation.workload import Workload

PACKAGE = "larder."


class Runs:
    """A file of JSON lines, one finished run a line: its key, a label to read and the figures."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        self._known: dict[str, dict[str, float]] = {row["key"]: row["figures"] for row in rows}

    def get(self, key: str) -> dict[str, float] | None:
        """The figures of a run, if it was made."""
        return self._known.get(key)

    def put(self, key: str, label: str, figures: dict[str, float]) -> None:
        """Keep a run; one write, so that what is stopped leaves whole lines."""
        self._known[key] = figures
        with self._path.open("a") as file:
            file.write(json.dumps({"key": key, "label": label, "figures": figures}) + "\n")


def default_path(name: str) -> Path:
    """Where the runs of a benchmark are kept, outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "larder" / f"{name}.jsonl"


def digest(workload: Workload) -> str:
    """The workload by its numbers."""
    found = hashlib.sha256(repr((workload.names, workload.sizes_bytes, workload.load_seconds)).encode())
    found.update(repr((workload.execution_seconds, workload.duration_seconds)).encode())
    for times in workload.arrivals:
        found.update(times.tobytes() + b"|")
    return found.hexdigest()[:16]


@cache
def revision(module: str, without: frozenset[str] = frozenset()) -> str:
    """The code of a module and all that it imports of the package, except what only those `without` need."""
    seen: dict[str, str] = {}
    _collect(module, without, seen)
    return hashlib.sha256(repr(sorted(seen.items())).encode()).hexdigest()[:16]


def _collect(module: str, without: frozenset[str], seen: dict[str, str]) -> None:
    if module in seen or module in without:
        return
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return
    tree = ast.parse(Path(spec.origin).read_text())
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    seen[module] = ast.dump(tree)
    for name in imported:
        if name.startswith(PACKAGE):
            _collect(name, without, seen)


def _is_text(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
