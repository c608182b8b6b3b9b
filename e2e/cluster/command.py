"""Runs programs: bounded in time, ended with their children when we are, their failures in one sentence."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.cluster.errors import ClusterError, CommandFailedError, NoNetworkError, NoSpaceError

OUTPUT_KEPT_CHARACTERS = 2_000

_NO_NETWORK = (
    "Temporary failure resolving",
    "Temporary failure in name resolution",
    "Could not resolve",
    "Name or service not known",
    "no such host",
    "server misbehaving",
    "Network is unreachable",
    "network is unreachable",
    "Failed to establish a new connection",
    "connect: connection refused",
    "i/o timeout",
)
_NO_SPACE = ("No space left on device", "no space left on device")

_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()


def run(  # noqa: PLR0913 - each argument is one independent property of a program's run
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    keep_errors_apart: bool = False,
    downloads: bool = False,
) -> str:
    """Run a program and return what it printed (standard output and error together, unless kept apart).

    `env` is added to the present environment. Raises CommandFailedError, or the more telling NoSpaceError and, where it
    `downloads`, NoNetworkError; ClusterError when it is missing or took longer than `timeout_seconds`.
    """
    program = Path(argv[0]).name
    try:
        process = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if keep_errors_apart else subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"The program {program} is not installed") from error
    output, errors = _wait(process, stdin.encode() if isinstance(stdin, str) else stdin, timeout_seconds)
    if process.returncode != 0:
        raise _failure(_described(argv), process.returncode, errors or output, downloads)
    return output


def interrupt_all() -> None:
    """End every program that is running now; their callers see a failure."""
    with _running_lock:
        for process in _running:
            _end_group(process)


def _wait(process: subprocess.Popen[bytes], stdin: bytes | None, timeout_seconds: float) -> tuple[str, str]:
    with _running_lock:
        _running.add(process)
    try:
        output, errors = process.communicate(stdin, timeout=timeout_seconds)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{Path(str(process.args[0])).name} did not end within {timeout_seconds:.0f} s") from error  # type: ignore[index]
    finally:
        if process.poll() is None:
            _end_group(process)
            process.wait()
        with _running_lock:
            _running.discard(process)
    return output.decode(errors="replace"), (errors or b"").decode(errors="replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _described(argv: Sequence[str | Path]) -> str:
    words = [Path(argv[0]).name, *(str(part) for part in argv[1:4])]
    return f"`{' '.join(words)}{' ...' if len(argv) > 4 else ''}`"


def _failure(program: str, status: int, output: str, downloads: bool) -> ClusterError:
    tail = output[-OUTPUT_KEPT_CHARACTERS:]
    last_line = next((line for line in reversed(tail.splitlines()) if line.strip()), "")
    if any(sign in tail for sign in _NO_SPACE):
        return NoSpaceError(f"The disk is full: {program} failed with {last_line!r}")
    if downloads and any(sign in tail for sign in _NO_NETWORK):
        return NoNetworkError(f"The network cannot be reached: {program} failed with {last_line!r}")
    return CommandFailedError(program, status, tail)
