"""The control group that holds every process of a cluster: what the kernel lists there is ours, whatever pid files say.

Works on cgroup v1 (a folder in every hierarchy) and v2 (one folder). Below the cluster's group, `system` holds our own
programs with the shims they start, and a kubelet's `kubepods` holds the containers: the first node's lies there, those
of further nodes in a group of the node's.
"""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from e2e.cluster.errors import ClusterError

V2_ROOT = Path("/sys/fs/cgroup")
V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
SYSTEM, PODS = "system", "kubepods"

# On v1 membership differs by hierarchy; runc puts containers into all of them, and so do we with our programs.
_TRACKED_CONTROLLER = "pids"


def hierarchies() -> tuple[Path, ...]:
    """The hierarchies that limit resources: one on v2, one a controller on v1."""
    if (V2_ROOT / "cgroup.controllers").exists():
        return (V2_ROOT,)
    return _mounted(Path("/proc/mounts").read_text(), "cgroup")


def prepare(group: str, roots: Iterable[Path], nodes: Iterable[str] = ()) -> None:
    """Make the cluster's group, its `system` part and the groups of further nodes in every hierarchy."""
    parts = (SYSTEM, *nodes)
    for root in roots:
        if (root / "cgroup.controllers").exists():
            _delegate(root)
        for folder in (root / group, *(root / group / part for part in parts)):
            folder.mkdir(exist_ok=True)
            if (root / "cgroup.controllers").exists() and folder.name != SYSTEM:
                _delegate(folder)
            _fill_cpuset(folder)


def entry_files(group: str, roots: Iterable[Path]) -> tuple[Path, ...]:
    """The files a program writes 0 to, to put itself into the cluster's `system` group."""
    return tuple(root / group / SYSTEM / "cgroup.procs" for root in roots)


def processes(group: str, roots: Iterable[Path], part: str = "") -> frozenset[int]:
    """The processes in the group, or in a part of it, with everything below."""
    found: set[int] = set()
    for folder in _below(_tracked(roots) / group / part):
        try:
            found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
        except OSError:  # it was removed meanwhile
            continue
    return frozenset(found)


def kill(group: str, roots: tuple[Path, ...], part: str = "", timeout_seconds: float = 20.0) -> None:
    """SIGKILL everything in the group until nothing is left; ClusterError if something cannot be ended."""
    deadline = time.monotonic() + timeout_seconds
    while alive := processes(group, roots, part):
        for process_id in alive:
            try:
                os.kill(process_id, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise ClusterError(f"Processes {sorted(alive)} of the cluster cannot be ended")
        time.sleep(0.02)


def remove(group: str, roots: Iterable[Path], timeout_seconds: float = 5.0) -> None:
    """Remove the group everywhere; nothing may run in it any more."""
    deadline = time.monotonic() + timeout_seconds
    # Beside v1 hierarchies there may be an empty v2 one, in which runc makes the same folders.
    unified = _mounted(Path("/proc/mounts").read_text(), "cgroup2")
    for root in dict.fromkeys((*roots, *unified)):
        for folder in reversed(list(_below(root / group))):
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError as error:  # the kernel lets go of an ended process a moment later
                    if time.monotonic() > deadline:
                        raise ClusterError(f"The control group {folder} cannot be removed: {error.strerror}") from error
                    time.sleep(0.02)


def _mounted(table: str, kind: str) -> tuple[Path, ...]:
    fields = (line.split() for line in table.splitlines())
    return tuple(dict.fromkeys(Path(mount[1]) for mount in fields if mount[2] == kind))


def _tracked(roots: Iterable[Path]) -> Path:
    candidates = tuple(roots)
    return next((root for root in candidates if root.name == _TRACKED_CONTROLLER), candidates[0])


def _below(folder: Path) -> Iterator[Path]:
    """The folder and all below it, parents first; what is removed meanwhile is left out."""
    if not folder.is_dir():
        return
    yield folder
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return
    for child in children:
        if child.is_dir():
            yield from _below(child)


def _delegate(folder: Path) -> None:
    available = (folder / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in V2_CONTROLLERS if name in available)
    try:
        (folder / "cgroup.subtree_control").write_text(wanted)
    except OSError as error:
        raise ClusterError(f"The control group {folder} cannot be divided: {error.strerror}") from error


def _fill_cpuset(folder: Path) -> None:
    """On v1 a new cpuset is empty, and no process may enter it."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own, parent = folder / name, folder.parent / name
        if own.exists() and parent.exists() and not own.read_text().strip():
            own.write_text(parent.read_text())
