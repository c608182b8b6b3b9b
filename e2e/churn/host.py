"""The processes of pods as this machine sees them: found by their pod's control group, and signalled."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from larder.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a pod."""

    process_id: int
    command: str


def processes(pod_uid: str, program: str = "") -> tuple[Process, ...]:
    """Return the processes of a pod that run a program, as itself or by an interpreter; not the pause container's."""
    return tuple(found for found in _all(f"pod{pod_uid}") if not program or runs(found.command, program))


def runs(command: str, program: str) -> bool:
    """Return whether a command line is a program's: a stub's names the server's folder too."""
    return program in [Path(word).name for word in command.split()[:2]]


def send(chosen: Process, number: signal.Signals) -> None:
    """Signal a process; one that has just ended is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(chosen.process_id, number)


def one(pod_uid: str, program: str) -> Process:
    """Return a pod's process of a program. Raises UnavailableError where there is none."""
    found = processes(pod_uid, program)
    if not found:
        raise UnavailableError(f"no process of pod {pod_uid} is {program}")
    return found[0]


def _all(group: str) -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if group in (folder / "cgroup").read_text():
                command = (folder / "cmdline").read_text().replace("\0", " ").strip()
                if command and not command.startswith("/pause"):
                    yield Process(int(folder.name), command)
