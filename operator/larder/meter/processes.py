"""What /proc shows of the processes of this pod. Parsing is pure; `look` reads the files.

Of a process only what it has for itself counts: anonymous memory. Mapped files and page cache go when memory is short.
Shared memory is counted once, as what the pod's /dev/shm holds: every process that maps it would show it again.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from larder.api.metering import ContainerUse

PAUSE_PID: Final = 1
"""The sandbox's own process, in a pod that shares its process namespace."""
_CONTAINER: Final = re.compile(r"[0-9a-f]{64}")
_ANONYMOUS: Final = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)
_KILLS: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_STUB: Final = "triton_python_backend_stub"
_STUB_ARGUMENTS: Final = 2


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its container ("" where its cgroup names none), its anonymous bytes, the model it serves if any."""

    container: str
    anonymous_bytes: int
    model: str | None = None


def look(root: Path = Path("/proc")) -> list[Process]:
    """Return all processes of the pod but the sandbox's; one that ends meanwhile is left out."""
    return [process for pid in _pids(root) if (process := _process(root / str(pid))) is not None]


def kills(root: Path = Path("/proc")) -> int | None:
    """Return how many processes this node's kernel ended for want of memory since it started; None: it tells not."""
    found = _KILLS.search(_text(root / "vmstat"))
    return int(found[1]) if found else None


def uses(processes: list[Process], own_container: str) -> dict[str, ContainerUse]:
    """Sum up by container, leaving out the meter's own; where no container is named, all are one."""
    totals: dict[str, int] = {}
    models: dict[str, dict[str, int]] = {}
    for process in processes:
        if process.container and process.container == own_container:
            continue
        totals[process.container] = totals.get(process.container, 0) + process.anonymous_bytes
        if process.model is not None:
            of_models = models.setdefault(process.container, {})
            of_models[process.model] = of_models.get(process.model, 0) + process.anonymous_bytes
    return {name: ContainerUse(total, models.get(name, {})) for name, total in totals.items()}


def container_of(cgroups: str) -> str:
    """Return the id of the container in the text of a /proc/PID/cgroup: the last one named, "" where none is."""
    found = _CONTAINER.findall(cgroups)
    return found[-1] if found else ""


def model_of(arguments: list[str]) -> str | None:
    """Return the model that a process of the python backend serves: its stub is given REPOSITORY/MODEL/VERSION/FILE."""
    if len(arguments) < _STUB_ARGUMENTS or not arguments[0].endswith(_STUB):
        return None
    parts = Path(arguments[1]).parts
    return parts[-3] if len(parts) > 3 else None


def shared_bytes(path: Path = Path("/dev/shm")) -> int:  # noqa: S108 (a mount of the pod)
    """Return what the pod's shared memory holds; 0 where the pod has none."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _pids(root: Path) -> Iterator[int]:
    own = os.getpid()
    for entry in root.iterdir():
        if entry.name.isdigit() and int(entry.name) not in (PAUSE_PID, own):
            yield int(entry.name)


def _process(folder: Path) -> Process | None:
    anonymous = _ANONYMOUS.search(_text(folder / "status"))
    if anonymous is None:
        return None
    arguments = _text(folder / "cmdline").split("\0")
    return Process(container_of(_text(folder / "cgroup")), int(anonymous[1]) * 1024, model_of(arguments))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
