"""Whether this machine has built before what takes long: that decides which shares of the time apply."""

import os

from e2e.cluster import binaries
from e2e.cluster.settings import from_environment


def are_warm() -> bool:
    """Return whether the Kubernetes of this machine's own cluster was built at some time and is still there."""
    programs = from_environment(os.environ).cache / "bin"
    return programs.is_dir() and any(path.name.startswith(binaries.CONTROLPLANE) for path in programs.iterdir())
