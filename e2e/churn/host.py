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


def processes(pod_uid: str, word: str = "") -> tuple[Process, ...]:
    """Return the processes of a pod whose command line has the word, the oldest first; the pause container's not."""
    found = (process for process in _all(f"pod{pod_uid}") if word in process.command)
    return tuple(sorted(found, key=lambda process: process.process_id))


def send(chosen: Process, number: signal.Signals) -> None:
    """Signal a process; one that has just ended is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(chosen.process_id, number)


def one(pod_uid: str, word: str) -> Process:
    """Return the oldest process of a pod with the word. Raises UnavailableError where there is none."""
    found = processes(pod_uid, word)
    if not found:
        raise UnavailableError(f"no process of pod {pod_uid} has {word!r} in its command line")
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
