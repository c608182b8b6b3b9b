"""How clients on this machine reach a pool: at its Service's address where that leads there, else through kubectl."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Final

import urllib3
from urllib3.exceptions import HTTPError

from e2e.tests.stage import POOL, Pool, Stage
from larder.api.names import GRPC_PORT, HTTP_PORT

TRIES: Final = 5


@contextlib.contextmanager
def reach(stage: Stage, hop: str | None = None) -> Iterator[tuple[str, Pool]]:
    """Yield how the pool is reached, and clients of it. `hop`: "direct" or "forward"; None: direct where it works."""
    service = stage.kube.get("Service", POOL)
    assert service is not None
    address = service["spec"]["clusterIP"]
    if hop == "direct" or (hop is None and is_reachable(address)):
        yield "Service address", Pool({HTTP_PORT: HTTP_PORT, GRPC_PORT: GRPC_PORT}, address)
        return
    with stage.clients() as pool:
        yield "kubectl port-forward", pool


def is_reachable(address: str) -> bool:
    """Return whether a Triton answers at the Service's address from this machine, soon after the pool is ready."""
    for _ in range(TRIES):
        try:
            answer = urllib3.request("GET", f"http://{address}:{HTTP_PORT}/v2", timeout=2.0, retries=False)
            if answer.status == 200 and "extensions" in json.loads(answer.data):
                return True
        except (HTTPError, ValueError):
            time.sleep(1.0)
    return False
