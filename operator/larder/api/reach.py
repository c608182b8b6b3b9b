"""Whether a pod's node is lost, read from the pod alone: neither gateway nor operator may read nodes."""

from collections.abc import Mapping
from typing import Any

from larder.api.quantities import parse_time


def is_node_lost(status: Mapping[str, Any], gate: str) -> bool:
    """Return whether the control plane gave the pod's node up.

    When a kubelet is not heard any more, the node's lifecycle controller makes `Ready` false and touches nothing else
    of the pod's status. `Ready` that turned false after the readiness gate `gate` turned true, with all containers
    ready, comes from nobody else: a kubelet that is alive makes `Ready` false only with one of those it is made of.
    """
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    parts = [conditions.get(name) for name in ("ContainersReady", gate)]
    if ready is None or ready.get("status") != "False":
        return False
    held = [part for part in parts if part is not None and part.get("status") == "True"]
    return len(held) == len(parts) and all(_turned(ready) > _turned(part) for part in held)


def _turned(condition: Mapping[str, Any]) -> float:
    when = condition.get("lastTransitionTime")
    return parse_time("status.conditions.lastTransitionTime", when) if when else 0.0
