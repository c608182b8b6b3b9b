"""Which pod serves which model, computed without I/O from pods, their residency annotations, and hints.

A pod's record counts only for the container that runs now; of annotation and hint the higher (term, generation)
wins. A hint that the annotation has not followed within a minute is dropped: the annotation is the truth.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from larder.api import names
from larder.api.reach import is_node_lost
from larder.api.residency import Residency, decode
from larder.errors import InvalidInputError

HINT_SECONDS: Final = 60.0

Manifest = Mapping[str, Any]
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pod:
    """A Triton pod as the API server shows it. `container_id` is empty while container `triton` does not run.

    `lost`: its node is, so that nothing that is sent there arrives.
    """

    uid: str
    name: str
    ip: str
    container_id: str
    serving: bool
    terminating: bool
    lost: bool = False
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
class _Served:
    version: Version
    endpoint: Endpoint | None
    models: frozenset[str]


Copies = tuple[Endpoint, ...]


@dataclass(slots=True)
class Table:
    """Copies by model, and each pod's record in force as its version. A change costs as many models as its pod has."""

    copies: dict[str, Copies] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)
    _served: dict[str, _Served] = field(default_factory=dict, compare=False)

    def put(self, uid: str, pod: Pod | None, hint: Hint | None) -> dict[str, Copies] | None:
        """Take over what a pod serves now. Return the models whose copies changed, as they were; None: no change."""
        before, now = self._served.get(uid), None if pod is None else _served(pod, hint)
        if before == now:
            return None
        if now is None:
            del self._served[uid], self.versions[uid]
        else:
            self._served[uid], self.versions[uid] = now, now.version
        # A new mapping, so that who remembers the last one can compare; copying it is cheap.
        self.copies = dict(self.copies)
        changed = (before.models if before else frozenset()) | (now.models if now else frozenset())
        return {model: self._replace(model, uid, now) for model in changed}

    def _replace(self, model: str, uid: str, now: _Served | None) -> Copies:
        before = self.copies.get(model, ())
        copies = tuple(endpoint for endpoint in before if endpoint.pod_uid != uid)
        if now is not None and now.endpoint is not None and model in now.models:
            copies = (*copies, now.endpoint)
        if copies:
            self.copies[model] = copies
        else:
            del self.copies[model]
        return before


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
        lost=is_node_lost(status, names.SERVING_GATE),
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


def _served(pod: Pod, hint: Hint | None) -> _Served | None:
    """A pod that is terminating or lost keeps its version and serves nothing."""
    record = in_force(pod, hint)
    if record is None:
        return None
    if pod.terminating or pod.lost or not pod.ip:
        return _Served(record.version, None, frozenset())
    endpoint = Endpoint(pod.uid, pod.name, pod.ip, record.version)
    return _Served(record.version, endpoint, frozenset(record.routable))


def build(pods: Iterable[Pod], hints: Mapping[str, Hint]) -> Table:
    """Return the routing table of these pods."""
    table = Table()
    for pod in pods:
        table.put(pod.uid, pod, hints.get(pod.uid))
    return table


def newest(present: Hint | None, offered: Hint) -> Hint:
    """Return the hint to keep of two for one pod: for the same container, the higher version."""
    if present is None or present.residency.container_id != offered.residency.container_id:
        return offered
    return max(present, offered, key=lambda hint: (hint.residency.version, hint.at_seconds))


def unexpired(hints: Mapping[str, Hint], now_seconds: float) -> dict[str, Hint]:
    """Return the hints that may still precede their annotation."""
    return {uid: hint for uid, hint in hints.items() if now_seconds - hint.at_seconds < HINT_SECONDS}
