"""The kinds that Larder reads and writes, and their paths on the API server."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from larder.api import names
from larder.api.resources import Manifest
from larder.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of namespaced object."""

    api_version: str
    plural: str
    kind: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of one object, of its part, or of all objects (in a namespace, or everywhere)."""
        root = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [self.plural, name, subresource]
        if namespace is not None:
            parts = ["namespaces", namespace, *parts]
        return root + self.api_version + "/" + "/".join(quote(part, safe="") for part in parts if part is not None)


PODS: Final = Resource("v1", "pods", "Pod")
EVENTS: Final = Resource("v1", "events", "Event")
SECRETS: Final = Resource("v1", "secrets", "Secret")
DEPLOYMENTS: Final = Resource("apps/v1", "deployments", "Deployment")
LEASES: Final = Resource("coordination.k8s.io/v1", "leases", "Lease")
MODELS: Final = Resource(names.API_VERSION, names.MODEL_PLURAL, "Model")
POOLS: Final = Resource(names.API_VERSION, names.POOL_PLURAL, "ModelPool")

_ALL: Final = (
    PODS,
    EVENTS,
    SECRETS,
    DEPLOYMENTS,
    LEASES,
    MODELS,
    POOLS,
    Resource("v1", "services", "Service"),
    Resource("v1", "serviceaccounts", "ServiceAccount"),
    Resource("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Resource("rbac.authorization.k8s.io/v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
)
_BY_KIND: Final = {(resource.api_version, resource.kind): resource for resource in _ALL}


def resource_of(manifest: Manifest) -> Resource:
    """Return the resource of an object. Raises InvalidInputError for a kind that Larder does not handle."""
    key = (manifest["apiVersion"], manifest["kind"])
    try:
        return _BY_KIND[key]
    except KeyError:
        raise InvalidInputError("kind", "/".join(key), "it is none of the kinds that Larder owns") from None
