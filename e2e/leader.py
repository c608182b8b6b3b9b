"""Which of the operator's replicas leads, as the Lease says it, and its process on this machine."""

from dataclasses import dataclass

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


def _holder(lease: Manifest | None) -> str:
    return ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
