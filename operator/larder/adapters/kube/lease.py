"""The Lease object: read, created and replaced with its resourceVersion as precondition."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from larder.adapters.kube.client import KubeClient
from larder.adapters.kube.resources import LEASES
from larder.api.resources import Manifest
from larder.errors import KubernetesError


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What the Lease says. `transitions` grows with every change of holder; `version` orders writes."""

    holder: str
    transitions: int
    version: str | None = None
    duration_seconds: int = 0
    renewed: str = ""


class LeaseStore:
    """One Lease by name."""

    def __init__(self, client: KubeClient, namespace: str, name: str, now: Callable[[], float]) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._now = now

    async def read(self) -> LeaseRecord | None:
        """Return the present record, None where there is no Lease."""
        try:
            return _record(await self._client.get(LEASES, self._namespace, self._name))
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise

    async def write(self, record: LeaseRecord, duration_seconds: float) -> LeaseRecord | None:
        """Write the record over the version it carries; None if another was written meanwhile."""
        manifest = self._manifest(record, duration_seconds)
        try:
            if record.version is None:
                return _record(await self._client.create(manifest))
            return _record(await self._client.replace(manifest))
        except KubernetesError as error:
            if error.status == 409:
                return None
            raise

    def _manifest(self, record: LeaseRecord, duration_seconds: float) -> Manifest:
        meta = {"name": self._name, "namespace": self._namespace}
        if record.version is not None:
            meta["resourceVersion"] = record.version
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": meta,
            "spec": {
                "holderIdentity": record.holder,
                "leaseDurationSeconds": max(1, round(duration_seconds)),
                "leaseTransitions": record.transitions,
                "renewTime": datetime.fromtimestamp(self._now(), UTC).strftime(_MICRO_TIME),
            },
        }


_MICRO_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def _record(manifest: Manifest) -> LeaseRecord:
    spec = manifest.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        transitions=int(spec.get("leaseTransitions") or 0),
        version=manifest["metadata"]["resourceVersion"],
        duration_seconds=int(spec.get("leaseDurationSeconds") or 0),
        renewed=spec.get("renewTime") or "",
    )
