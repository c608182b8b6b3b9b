"""How often the gateways tried again, read from their own counters. A gateway that is gone keeps its last figure."""

import re
from typing import Final

import urllib3
from urllib3.exceptions import HTTPError

from e2e.kube import Kube
from e2e.tests.stage import POOL
from larder.api.names import COMPONENT_LABEL, GATEWAY, GATEWAY_METRICS_PORT, POOL_LABEL
from larder.errors import LarderError

COUNTERS: Final = re.compile(
    r"^(?:larder_gateway_retries_total|envoy_cluster_upstream_rq_retry)(?:\{[^}]*\})? ([0-9.e+]+)$", re.M
)
SECONDS: Final = 3.0


def added_up(text: str) -> int:
    """Return the retries in a gateway's metrics: the activator's, and Envoy's in all clusters."""
    return round(sum(float(value) for value in COUNTERS.findall(text)))


class Retries:
    """Of all gateways that were ever seen."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._seen: dict[str, int] = {}
        self._connections = urllib3.PoolManager(retries=False, timeout=SECONDS)

    def total(self) -> int:
        """Read the counters and return their sum; a gateway that does not answer counts as it last did."""
        try:
            pods = self._kube.all("Pod", selector=f"{POOL_LABEL}={POOL},{COMPONENT_LABEL}={GATEWAY}")
        except LarderError:
            pods = []
        for pod in pods:
            self._read(pod["metadata"]["uid"], (pod.get("status") or {}).get("podIP"))
        return sum(self._seen.values())

    def _read(self, uid: str, address: str | None) -> None:
        if not address:
            return
        try:
            answer = self._connections.request("GET", f"http://{address}:{GATEWAY_METRICS_PORT}/metrics")
        except HTTPError:
            return
        if answer.status == 200:
            self._seen[uid] = max(self._seen.get(uid, 0), added_up(answer.data.decode(errors="replace")))
