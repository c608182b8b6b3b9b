"""What all objects of a pool share: owner, labels, selectors, keys, security contexts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from larder.api import names
from larder.api.resources import ModelPool

KEYS_DIGEST_ANNOTATION: Final = "larder.dev/keys-digest"
"""On pod templates: pods are replaced when the keys they carry are no longer the pool's."""

CONTAINER_SECURITY: Final[Mapping[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True, slots=True)
class Keys:
    """What admits the operator to Triton's restricted APIs and to the demand stream."""

    admin_key: str
    demand_token: str

    @property
    def digest(self) -> str:
        """Changes with the keys and tells nothing of them."""
        return hashlib.sha256(f"{self.admin_key}/{self.demand_token}".encode()).hexdigest()[:16]


def object_meta(pool: ModelPool, name: str, component: str | None = None) -> dict[str, Any]:
    """Metadata of an object that belongs to the pool and goes with it."""
    return {
        "name": name,
        "namespace": pool.meta.namespace,
        "labels": labels(pool, component),
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": "ModelPool",
                "name": pool.meta.name,
                "uid": pool.meta.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def scraped(port: int) -> dict[str, str]:
    """The annotations by which a Prometheus without custom resources usually finds what to scrape."""
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}


def labels(pool: ModelPool, component: str | None = None) -> dict[str, str]:
    """The labels of an object of the pool; with a component, those that its pods are selected by as well."""
    found = {
        "app.kubernetes.io/name": "larder",
        "app.kubernetes.io/instance": pool.meta.name,
        "app.kubernetes.io/managed-by": "larder",
        names.POOL_LABEL: pool.meta.name,
    }
    if component is not None:
        found["app.kubernetes.io/component"] = component
        found[names.COMPONENT_LABEL] = component
    return found


def selector(pool: ModelPool, component: str) -> dict[str, str]:
    """The labels that select the pods of one component."""
    return {names.POOL_LABEL: pool.meta.name, names.COMPONENT_LABEL: component}


def secret_variable(name: str, pool: ModelPool, key: str) -> dict[str, Any]:
    """An environment variable whose value is an entry of the pool's Secret."""
    reference = {"name": names.keys_name(pool.meta.name), "key": key}
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def field_variable(name: str, path: str) -> dict[str, Any]:
    """An environment variable whose value is a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def pod_security(user: int) -> dict[str, Any]:
    """A pod that runs as this user, as the restricted Pod Security Standard asks."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
