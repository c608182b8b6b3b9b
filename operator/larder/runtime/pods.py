"""Pods of pools as the operator sees them, parsed once from the API server's objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from larder.api import names
from larder.api.conditions import ConditionReason
from larder.api.quantities import parse_time
from larder.api.reach import is_node_lost
from larder.api.resources import Manifest

_MAIN_CONTAINER: Final = {names.TRITON: "triton", names.GATEWAY: "activator"}
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_IMAGE: Final = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"})


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not serve, in the cluster's own words."""

    reason: ConditionReason
    message: str


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod. `container_id` is empty while its main container does not run; `gate` None: never set.

    `ended_for_memory`: the kernel ended the main container, or the one before it, for want of memory.
    `creating`: it has a node and its containers do not start, be it for a volume that can't be mounted.
    `lost`: Kubernetes gave its node up.
    """

    namespace: str
    name: str
    uid: str
    version: str
    pool: str
    component: str
    ip: str
    created_seconds: float
    container_id: str
    ready: bool
    gate: bool | None
    deleting: bool
    creating: bool
    residency: str
    retiring: str = ""
    template: str = ""
    ended_for_memory: bool = False
    lost: bool = False
    trouble: Trouble | None = None


def parse_pod(manifest: Manifest) -> PodView:
    """Read a pod that carries the labels of a pool."""
    meta, status = manifest["metadata"], manifest.get("status") or {}
    labels = meta.get("labels") or {}
    component = labels.get(names.COMPONENT_LABEL, "")
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    main = _container(status, _MAIN_CONTAINER.get(component, ""))
    gate = conditions.get(names.SERVING_GATE)
    running = "running" in (main.get("state") or {})
    return PodView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=meta["resourceVersion"],
        pool=labels.get(names.POOL_LABEL, ""),
        component=component,
        ip=status.get("podIP") or "",
        created_seconds=parse_time("metadata.creationTimestamp", meta["creationTimestamp"]),
        container_id=(main.get("containerID") or "") if running else "",
        ready=_holds(conditions.get("Ready")),
        gate=None if gate is None else _holds(gate),
        deleting=meta.get("deletionTimestamp") is not None or status.get("phase") in ("Succeeded", "Failed"),
        creating=_is_creating(status, conditions),
        residency=(meta.get("annotations") or {}).get(names.RESIDENCY_ANNOTATION, ""),
        retiring=(meta.get("annotations") or {}).get(names.RETIREMENT_ANNOTATION, ""),
        template=labels.get(names.TEMPLATE_LABEL, ""),
        ended_for_memory=_ended_for_memory(main),
        lost=is_node_lost(status, names.SERVING_GATE),
        trouble=_trouble(meta["name"], status, conditions),
    )


def _container(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    listed = status.get("containerStatuses") or ()
    return next((container for container in listed if container["name"] == name), {})


def _ended_for_memory(container: Mapping[str, Any]) -> bool:
    ends = [(container.get(moment) or {}).get("terminated") or {} for moment in ("state", "lastState")]
    return any(end.get("reason") == "OOMKilled" for end in ends)


def _holds(condition: Mapping[str, Any] | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def _waiting(status: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Containers that wait, init containers first, each with why."""
    listed = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return [(c, c["state"]["waiting"]) for c in listed if "waiting" in (c.get("state") or {})]


def _is_creating(status: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    if not _holds(conditions.get("PodScheduled")):
        return False
    waiting = [why.get("reason") for _, why in _waiting(status)]
    return bool(waiting) and all(reason in _STARTING for reason in waiting)


def _trouble(name: str, status: Mapping[str, Any], conditions: Mapping[str, Any]) -> Trouble | None:
    for container, why in _waiting(status):
        reason = why.get("reason") or ""
        if reason in _STARTING or not reason:
            continue
        kind = ConditionReason.IMAGE_UNAVAILABLE if reason in _IMAGE else ConditionReason.CONTAINER_FAILS
        said = "; ".join(filter(None, (why.get("message"), _last_words(container))))
        return Trouble(kind, f"Pod {name}, container {container['name']}: {reason}: {said}")
    for container in status.get("containerStatuses") or ():
        if not container.get("ready") and container.get("restartCount") and _last_words(container):
            text = f"restarted {container['restartCount']} times: {_last_words(container)}"
            return Trouble(ConditionReason.CONTAINER_FAILS, f"Pod {name}, container {container['name']}: {text}")
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return Trouble(ConditionReason.UNSCHEDULABLE, f"Pod {name}: {scheduled.get('message', '')}")
    if status.get("phase") == "Failed":
        return Trouble(ConditionReason.CONTAINER_FAILS, f"Pod {name}: {status.get('reason')}: {status.get('message')}")
    return None


def _last_words(container: Mapping[str, Any]) -> str:
    """What the container said when it last ended: its exit and the end of its output, without tables."""
    ended = (container.get("lastState") or {}).get("terminated")
    if not ended:
        return ""
    lines = [line.strip() for line in (ended.get("message") or "").splitlines()]
    said = [line for line in lines if line and line[0] not in "|+"]
    return f"it ended with {ended.get('reason')} ({ended.get('exitCode')}) {' '.join(said[-3:])[-400:]}".rstrip()
