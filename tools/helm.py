"""The helm program that the repository's tools use: the machine's own, else the one the embedded cluster has built."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from e2e.cluster import binaries
from e2e.cluster.settings import from_environment
from larder.errors import LarderError

TIMEOUT_SECONDS: Final = 60.0


class HelmError(LarderError):
    """helm is missing, or refused what it was given; the message is its own."""


def find() -> Path:
    """Return the path of helm. Raises HelmError that says how to get one."""
    on_path = shutil.which("helm")
    if on_path is not None:
        return Path(on_path)
    built = (from_environment().cache / "bin").glob(f"{binaries.HELM}-*")
    newest_first = sorted((path for path in built if path.is_file()), key=lambda path: -path.stat().st_mtime)
    if not newest_first:
        raise HelmError(_MISSING)
    return newest_first[0]


_MISSING: Final = (
    "helm is not on PATH and not built yet: install Helm 3, or build the pinned one with `make cluster-up`"
)


def run(*arguments: str) -> str:
    """Return what helm prints. Raises HelmError with its complaint."""
    command = [str(find()), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HelmError(str(error)) from error
    if done.returncode != 0:
        raise HelmError(f"helm {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
