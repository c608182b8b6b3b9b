"""Running one suite: its own process group, ended when its share of the time is used up."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

STOP_SECONDS = 20.0
"""How long a suite that is over its share may clean up before it is killed."""


class Verdict(StrEnum):
    """How a suite ended."""

    PASSED = "passed"
    FAILED = "failed"
    OVER = "over its share"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one suite did with its share."""

    suite: str
    verdict: Verdict
    elapsed_seconds: float
    allowed_seconds: float


def run(suite: str, command: tuple[str, ...], allowed_seconds: float, folder: Path) -> Outcome:
    """Run the command to its end or to the end of its share; its output goes where ours goes."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment(os.environ), start_new_session=True)
    try:
        passed = process.wait(timeout=allowed_seconds) == 0
        verdict = Verdict.PASSED if passed else Verdict.FAILED
    except subprocess.TimeoutExpired:
        verdict = Verdict.OVER
    finally:
        stop(process)
    return Outcome(suite, verdict, time.monotonic() - started, allowed_seconds)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with the programs of this virtual environment first on PATH."""
    return {**given, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', os.defpath)}"}


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a suite that still runs, with all of its process group: asked first, killed after `STOP_SECONDS`."""
    if process.poll() is not None:
        return
    signal_group(process, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_SECONDS)
    signal_group(process, signal.SIGKILL)
    process.wait()


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal every process of the suite's group that is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
