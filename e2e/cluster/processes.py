"""The cluster's own programs: started once, found again by process id and start time, ended by the same."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.cluster.store import digest, write

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOG_LIMIT_BYTES = 64 << 20
# A program enters its control groups before it becomes itself: even a SIGKILL of ours right now leaks nothing.
_ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 126; shift; done; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Program:
    """What is to run. `ports` are those it listens on, `grace_seconds` what it gets between SIGTERM and SIGKILL."""

    name: str
    argv: tuple[str, ...]
    ports: tuple[int, ...] = ()
    grace_seconds: float = 1.0
    config: str = ""

    @property
    def identity(self) -> str:
        """Differs when the program would have to be restarted."""
        return digest((*self.argv, self.config))


@dataclass(frozen=True, slots=True)
class Record:
    """What was started: enough to know it again after its process id was given to another."""

    process_id: int
    start_ticks: int
    boot_id: str
    identity: str


def running(folder: Path, name: str) -> Record | None:
    """The record of a program of ours that still runs, else None."""
    record = _read(folder / f"{name}.json")
    if record is None or record.boot_id != BOOT_ID.read_text().strip():
        return None
    return record if start_ticks(record.process_id) == record.start_ticks else None


def start_ticks(process_id: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none or all of it has ended.

    A zombie with threads still holds its ports.
    """
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
        threads = sum(1 for _ in Path(f"/proc/{process_id}/task").iterdir())
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything, parentheses too
    return None if fields[0] in "ZX" and threads <= 1 else int(fields[19])


def arguments(record: Record) -> tuple[str, ...]:
    """The command line of a program that runs; empty if it just ended."""
    try:
        return tuple(Path(f"/proc/{record.process_id}/cmdline").read_text().split("\0"))
    except OSError:
        return ()


def strays(folder: Path, members: Iterable[int]) -> frozenset[int]:
    """Programs among the members of our control group that no record knows: we did not live to write or obey it.

    Ours are leaders of their session; what they start, shims above all, is not.
    """
    known = {record.process_id for path in folder.glob("*.json") if (record := running(folder, path.stem))}
    return frozenset(process_id for process_id in members if process_id not in known and _leads_session(process_id))


def end_strays(folder: Path, members: Iterable[int]) -> None:
    """SIGKILL strays, and wait until they let go of their ports."""
    for process_id in strays(folder, members):
        ticks = start_ticks(process_id)
        if ticks is not None:
            stray = Record(process_id, ticks, "", "")
            _signal(stray, signal.SIGKILL)
            _ends(stray, time.monotonic() + 10.0)


def _leads_session(process_id: int) -> bool:
    try:
        return os.getsid(process_id) == process_id
    except ProcessLookupError:
        return False


def start(folder: Path, logs: Path, program: Program, entries: Iterable[Path], identity: str = "") -> Record:
    """Start a program in its own session and control groups, detached from us, and record it.

    `identity`: that of an earlier start, where the program is the same in all but what was told of it.
    """
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{program.name}.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.rename(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _ENTER, "sh", *(str(path) for path in entries), "--", *program.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    ticks = start_ticks(process.pid) or 0
    record = Record(process.pid, ticks, BOOT_ID.read_text().strip(), identity or program.identity)
    write(folder / f"{program.name}.json", json.dumps(asdict(record)))
    return record


def stop(folder: Path, names: dict[str, float]) -> None:
    """End programs ({name: seconds between SIGTERM and SIGKILL}), all at once.

    They are forgotten first: one that we told to end and did not see end must not be taken for running.
    """
    records = {name: record for name in names if (record := running(folder, name))}
    for name in names:
        (folder / f"{name}.json").unlink(missing_ok=True)
    began = time.monotonic()
    for record in records.values():
        _signal(record, signal.SIGTERM)
    for name, grace_seconds in sorted(names.items(), key=lambda item: item[1]):
        if name in records and not _ends(records[name], began + grace_seconds):
            _signal(records[name], signal.SIGKILL)
            _ends(records[name], time.monotonic() + 10.0)


def log_tail(logs: Path, name: str, lines: int = 5) -> str:
    """The last lines that a program wrote."""
    path = logs / f"{name}.log"
    if not path.exists():
        return "it wrote nothing"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4_000))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _read(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _signal(record: Record, number: signal.Signals) -> None:
    if start_ticks(record.process_id) == record.start_ticks:
        os.kill(record.process_id, number)


def _ends(record: Record, deadline: float) -> bool:
    while start_ticks(record.process_id) == record.start_ticks:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
