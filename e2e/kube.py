"""The few things the demo and the end-to-end tests ask of an API server: apply, read, delete, and wait by watching.

Written on the client's dynamic side, so that custom resources and built-in ones are the same.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from kubernetes import config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, NotFoundError
from urllib3.exceptions import HTTPError

from larder.api.names import API_VERSION
from larder.errors import KubernetesError, LarderError, UnavailableError

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""

FIELD_MANAGER: Final = "larder-e2e"
REQUEST_SECONDS: Final = 15.0
BOUND: Final[dict[str, Any]] = {"_request_timeout": REQUEST_SECONDS}
"""How long one request may take."""
WATCH_SECONDS: Final = 5
"""One watch lasts this long at most: how often a wait reports while nothing happens."""
API_VERSIONS: Final = {
    "Namespace": "v1",
    "Node": "v1",
    "Pod": "v1",
    "ConfigMap": "v1",
    "Secret": "v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "Event": "v1",
    "PersistentVolumeClaim": "v1",
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "Lease": "coordination.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "APIService": "apiregistration.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "ModelPool": API_VERSION,
    "Model": API_VERSION,
}


class WaitTimeoutError(LarderError):
    """Something did not come true in time; the message says what, and how things stood."""


def connect(kubeconfig: Path) -> "Kube":
    """Return the API server of a kubeconfig. Raises UnavailableError where it does not answer."""
    try:
        return Kube(DynamicClient(config.new_client_from_config(config_file=str(kubeconfig))))
    except (HTTPError, ApiException, ConfigException) as error:
        raise UnavailableError(f"the API server of {kubeconfig} does not answer: {error}") from error


class Kube:
    """One API server, and the namespace that is meant where a kind has namespaces (None: all of them)."""

    def __init__(self, dynamic: Any, namespace: str | None = None) -> None:
        self._dynamic = dynamic
        self.namespace = namespace

    def within(self, namespace: str) -> "Kube":
        """Return the same API server with another namespace."""
        return Kube(self._dynamic, namespace)

    def apply(self, manifest: Mapping[str, Any]) -> Manifest:
        """Apply on the server's side, taking fields over from others. Raises KubernetesError when it is refused."""
        kind = self._kind(manifest["kind"], manifest["apiVersion"])
        name = manifest["metadata"]["name"]
        with _translated():
            applied = self._dynamic.server_side_apply(
                kind,
                body=dict(manifest),
                name=name,
                namespace=self.namespace or manifest["metadata"].get("namespace"),
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
                **BOUND,
            )
        return _json(applied)

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Manifest:
        """Create, or only ask whether it would be let in. Raises KubernetesError when refused or there already."""
        kind = self._kind(manifest["kind"], manifest["apiVersion"])
        asked = {"dry_run": "All"} if dry_run else {}
        with _translated():
            return _json(self._dynamic.create(kind, body=dict(manifest), namespace=self.namespace, **asked, **BOUND))

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return the object, or None where there is none."""
        try:
            with _translated():
                return _json(self._dynamic.get(self._kind(kind), name=name, namespace=self.namespace, **BOUND))
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise

    def all(self, kind: str, selector: str = "") -> list[Manifest]:
        """Return the objects of a kind, by label selector."""
        return self._list(kind, label_selector=selector)[0]

    def patch(self, kind: str, name: str, patch: Mapping[str, Any]) -> Manifest:
        """Apply a JSON merge patch."""
        with _translated():
            patched = self._dynamic.patch(
                self._kind(kind),
                body=dict(patch),
                name=name,
                namespace=self.namespace,
                content_type="application/merge-patch+json",
                **BOUND,
            )
        return _json(patched)

    def delete(self, kind: str, name: str, grace_seconds: int | None = None) -> None:
        """Ask for deletion; what is gone already is fine."""
        body: Manifest = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            with _translated():
                self._dynamic.delete(self._kind(kind), name=name, namespace=self.namespace, body=body, **BOUND)
        except KubernetesError as error:
            if error.status != 404:
                raise

    def changes(self, kind: str, seconds: float, resource_version: str | None = None) -> Iterator[tuple[str, Manifest]]:
        """Yield (ADDED, MODIFIED or DELETED, object) for so long; without a version, first all that is there.

        Ends early where the version is too old for the API server.
        """
        with _translated():
            for event in watch.Watch().stream(
                self._kind(kind).get,
                namespace=self.namespace,
                resource_version=resource_version,
                serialize=False,
                timeout_seconds=max(1, round(seconds)),
                _request_timeout=(REQUEST_SECONDS, seconds + REQUEST_SECONDS),
            ):
                if event["type"] not in {"ADDED", "MODIFIED", "DELETED"}:
                    return
                yield event["type"], event["raw_object"]

    def until(
        self,
        kind: str,
        name: str,
        holds: Callable[[Manifest | None], bool],
        timeout_seconds: float,
        what: str,
    ) -> Manifest | None:
        """Wait until `holds` of the object (None: not there) and return it. Raises WaitTimeoutError, saying `what`."""

        def of_all(objects: Mapping[str, Manifest]) -> bool:
            return holds(objects.get(name))

        return self.until_all(kind, of_all, timeout_seconds, what, f"metadata.name={name}").get(name)

    def until_all(
        self,
        kind: str,
        holds: Callable[[Mapping[str, Manifest]], bool],
        timeout_seconds: float,
        what: str,
        field_selector: str = "",
    ) -> dict[str, Manifest]:
        """Wait until `holds` of all objects of the kind, by name, and return them. Raises WaitTimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            listed, version = self._list(kind, field_selector=field_selector)
            objects = {item["metadata"]["name"]: item for item in listed}
            if holds(objects):
                return objects
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                raise WaitTimeoutError(f"after {timeout_seconds:.0f} s still not: {what}")
            # An API server that is away for a moment is asked again, up to the same deadline.
            with contextlib.suppress(UnavailableError):
                for change, item in self.changes(kind, min(left_seconds, WATCH_SECONDS), version):
                    _take(objects, change, item, field_selector)
                    if holds(objects):
                        return objects
                    if time.monotonic() > deadline:
                        break

    def _list(self, kind: str, **selectors: str) -> tuple[list[Manifest], str]:
        with _translated():
            listed = _json(self._dynamic.get(self._kind(kind), namespace=self.namespace, **selectors, **BOUND))
        return listed["items"], listed["metadata"]["resourceVersion"]

    def _kind(self, kind: str, api_version: str | None = None) -> Any:
        with _translated():
            return self._dynamic.resources.get(api_version=api_version or API_VERSIONS[kind], kind=kind)


def is_ready(item: Manifest | None) -> bool:
    """Return whether a Node or a Pod says that it is ready."""
    conditions = ((item or {}).get("status") or {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _take(objects: dict[str, Manifest], change: str, item: Manifest, field_selector: str) -> None:
    name = item["metadata"]["name"]
    if field_selector and field_selector != f"metadata.name={name}":
        return
    if change == "DELETED":
        objects.pop(name, None)
    else:
        objects[name] = item


def _json(instance: Any) -> Manifest:
    document: Manifest = instance.to_dict()
    return document


class _translated:  # noqa: N801 (reads as the statement it is)
    """Raise the client's exceptions as ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NotFoundError | ConflictError | DynamicApiError | ApiException):
            raise KubernetesError(error.status or 0, error.reason or "", str(error.body or error)) from error
        if isinstance(error, HTTPError):
            raise UnavailableError(f"the API server: {error}") from error
