"""Which pod serves which model, computed without I/O from pods, their residency annotations, and hints.

A pod's record counts only for the container that runs now; of annotation and hint the higher (term, generation)
wins. A hint that the annotation has not followed within a minute is dropped: the annotation is the truth.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from larder.api import names
from larder.api.residency import Residency, decode
from larder.errors import InvalidInputError

HINT_SECONDS: Final = 60.0

Manifest = Mapping[str, Any]
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pod:
    """A Triton pod as the API server shows it. `container_id` is empty while container `triton` does not run."""

    uid: str
    name: str
    ip: str
    container_id: str
    serving: bool
    terminating: bool
    published: Residency | None = None


@dataclass(frozen=True, slots=True)
class Hint:
    """A record that came ahead of its annotation, and when (monotonic seconds)."""

    residency: Residency
    at_seconds: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One copy of a model. `version` is of the pod's record by which it is routed to."""

    pod_uid: str
    pod_name: str
    ip: str
    version: Version


@dataclass(frozen=True, slots=True)
class Table:
    """Copies by model, what Envoy routes (models by pod address), and each pod's record in force as its version."""

    copies: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    models_by_ip: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    versions: Mapping[str, Version] = field(default_factory=dict)


def parse_pod(manifest: Manifest) -> Pod:
    """Read a pod. A residency annotation that is not ours counts as none: nothing is routed there."""
    meta, status = manifest["metadata"], manifest.get("status") or {}
    running = _running(status)
    annotation = (meta.get("annotations") or {}).get(names.RESIDENCY_ANNOTATION)
    return Pod(
        uid=meta["uid"],
        name=meta["name"],
        ip=status.get("podIP") or "",
        container_id=running.get("containerID") or "",
        serving=bool(running.get("ready")),
        terminating=meta.get("deletionTimestamp") is not None or status.get("phase") in ("Succeeded", "Failed"),
        published=_decoded(annotation),
    )


def _running(status: Manifest) -> Manifest:
    for container in status.get("containerStatuses") or ():
        if container.get("name") == names.TRITON and "running" in (container.get("state") or {}):
            return container  # type: ignore[no-any-return]
    return {}


def _decoded(annotation: str | None) -> Residency | None:
    if annotation is None:
        return None
    try:
        return decode(annotation)
    except InvalidInputError:
        return None


def in_force(pod: Pod, hint: Hint | None) -> Residency | None:
    """Return the newest record written for the container that runs."""
    records = [record for record in (pod.published, hint.residency if hint else None) if record is not None]
    bound = [record for record in records if pod.container_id and record.container_id == pod.container_id]
    return max(bound, key=lambda record: record.version, default=None)


def build(pods: Iterable[Pod], hints: Mapping[str, Hint], through_activator: Collection[str] = ()) -> Table:
    """Return the routing table. A terminating pod keeps its version and serves nothing.

    Models in `through_activator` have copies, but Envoy does not route to them by itself.
    """
    copies: dict[str, list[Endpoint]] = {}
    models_by_ip: dict[str, tuple[str, ...]] = {}
    versions: dict[str, Version] = {}
    for pod in pods:
        record = in_force(pod, hints.get(pod.uid))
        if record is None:
            continue
        versions[pod.uid] = record.version
        if pod.terminating or not pod.ip or not record.routable:
            continue
        if hot := record.routable.difference(through_activator):
            models_by_ip[pod.ip] = tuple(sorted(hot))
        endpoint = Endpoint(pod.uid, pod.name, pod.ip, record.version)
        for model in record.routable:
            copies.setdefault(model, []).append(endpoint)
    return Table({model: tuple(found) for model, found in copies.items()}, models_by_ip, versions)


def newest(present: Hint | None, offered: Hint) -> Hint:
    """Return the hint to keep of two for one pod: for the same container, the higher version."""
    if present is None or present.residency.container_id != offered.residency.container_id:
        return offered
    return max(present, offered, key=lambda hint: (hint.residency.version, hint.at_seconds))


def unexpired(hints: Mapping[str, Hint], now_seconds: float) -> dict[str, Hint]:
    """Return the hints that may still precede their annotation."""
    return {uid: hint for uid, hint in hints.items() if now_seconds - hint.at_seconds < HINT_SECONDS}
