"""Which of the operator's replicas leads, as the Lease says it, and its process on this machine."""

from dataclasses import dataclass
from datetime import UTC, datetime

from e2e import chart
from e2e.churn import host
from e2e.kube import Kube, Manifest
from larder.errors import UnavailableError
from larder.runtime.settings import LEASE_NAME


@dataclass(frozen=True, slots=True)
class Leader:
    """Who holds the Lease, in which pod, and the process to signal."""

    identity: str
    pod: str
    process: host.Process


def find(kube: Kube) -> Leader:
    """Return the leader. Raises UnavailableError where nobody leads, or whoever leads is no pod."""
    system = kube.within(chart.NAMESPACE)
    identity = _holder(system.get("Lease", LEASE_NAME))
    pod = system.get("Pod", identity.partition("_")[0]) if identity else None
    if pod is None:
        raise UnavailableError(f"the Lease is held by {identity!r}, which is no pod")
    return Leader(identity, pod["metadata"]["name"], host.one(pod["metadata"]["uid"], "kopf"))


def until_another(kube: Kube, former: Leader, timeout_seconds: float) -> None:
    """Wait until another one leads. Raises WaitTimeoutError."""

    def holds(lease: Manifest | None) -> bool:
        return _holder(lease) not in {"", former.identity}

    kube.within(chart.NAMESPACE).until("Lease", LEASE_NAME, holds, timeout_seconds, "another one leads")


def until_heard_of(kube: Kube, timeout_seconds: float) -> None:
    """Wait until the leader and every node have renewed their Leases from now on. Raises WaitTimeoutError.

    After the API server was away it tells everything as it was before, and marks nodes that it does not hear of.
    """
    now = datetime.now(UTC)

    def is_renewed(lease: Manifest | None) -> bool:
        told = ((lease or {}).get("spec") or {}).get("renewTime")
        return told is not None and datetime.fromisoformat(told) > now

    nodes = [("kube-node-lease", node["metadata"]["name"]) for node in kube.all("Node")]
    for namespace, name in ((chart.NAMESPACE, LEASE_NAME), *nodes):
        kube.within(namespace).until("Lease", name, is_renewed, timeout_seconds, f"{name} renewed its Lease")


def _holder(lease: Manifest | None) -> str:
    return ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
