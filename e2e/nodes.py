"""A second node beside the first: brought up where it is not there, cut off, healed, and given back."""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from e2e.cluster import lifecycle
from e2e.cluster.progress import Progress
from e2e.cluster.settings import from_environment
from e2e.kube import Kube, is_ready

SECOND: Final = "node2"
NOTICED_SECONDS: Final = 90.0
"""The control plane gives a node 25 s before it says that it is lost, others twice as long."""
BACK_SECONDS: Final = 60.0


def bring_up_second() -> None:
    """Bring this machine's cluster up with at least two nodes."""
    present = len(from_environment(os.environ).nodes)
    with Progress() as progress:
        lifecycle.up(from_environment(os.environ, nodes=max(2, present)), progress)


@contextlib.contextmanager
def lost(kube: Kube) -> Iterator[None]:
    """Within, the second node is cut off, and the control plane knows it; afterwards it is back."""
    settings = from_environment(os.environ)
    node = next(node for node in settings.nodes if node.name == SECOND)
    try:
        with Progress() as progress:
            lifecycle.lose(settings, node, progress)
        kube.until("Node", SECOND, lambda item: not is_ready(item), NOTICED_SECONDS, f"{SECOND} is known to be lost")
        yield
    finally:
        bring_up_second()
        kube.until("Node", SECOND, is_ready, BACK_SECONDS, f"{SECOND} is back")
