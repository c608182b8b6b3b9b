"""The helm program that the repository's tools use: the machine's own, else the one the embedded cluster has built."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from e2e.cluster import binaries, settings
from e2e.cluster.errors import ClusterError
from larder.errors import LarderError

TIMEOUT_SECONDS: Final = 60.0


class HelmError(LarderError):
    """helm is missing, or refused what it was given; the message is its own."""


def find() -> Path:
    """Return the path of helm. Raises HelmError that says how to get one."""
    on_path = shutil.which("helm")
    if on_path is not None:
        return Path(on_path)
    try:
        embedded = settings.from_environment()
        built = binaries.path(embedded, binaries.find_go(embedded), binaries.HELM)
    except ClusterError as error:
        raise HelmError(f"{_MISSING} ({error})") from error
    if not built.exists():
        raise HelmError(_MISSING)
    return built


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
