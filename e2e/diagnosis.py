"""Why something did not come true: conditions, pods' own messages, Events and the operator's last words."""

from collections.abc import Iterator, Mapping
from typing import Any

from e2e.kube import Kube
from larder.errors import LarderError

EVENTS = 15
"""How many of the newest Events are worth reading."""


def diagnose(kube: Kube) -> str:
    """Return what the namespace's objects say of themselves, a line each; never raises."""
    try:
        return "\n".join([*conditions(kube), *pods(kube), *events(kube)]) or "nothing is there"
    except LarderError as error:
        return f"no diagnosis: {error}"


def conditions(kube: Kube) -> Iterator[str]:
    """Yield each condition of pools and models that is not True, and failed or pending phases."""
    for kind in ("ModelPool", "Model"):
        for item in kube.all(kind):
            status = item.get("status") or {}
            name = f"{kind}/{item['metadata']['name']}"
            phase = f" phase {status['phase']}" if "phase" in status else ""
            yield f"{name}:{phase or ' status'} {'' if status else 'is empty'}".rstrip()
            for condition in status.get("conditions", []):
                if condition["status"] != "True":
                    yield f"  {condition['type']}={condition['status']} {condition['reason']}: {condition['message']}"


def pods(kube: Kube) -> Iterator[str]:
    """Yield each pod's phase, with what its containers wait for or ended with."""
    for pod in kube.all("Pod"):
        status = pod.get("status", {})
        yield f"Pod/{pod['metadata']['name']}: {status.get('phase')} {status.get('message', '')}".rstrip()
        for condition in status.get("conditions", []):
            if condition["status"] != "True":
                yield f"  {condition['type']}={condition['status']} {condition.get('reason', '')}"
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            yield from _container(container)


def _container(container: Mapping[str, Any]) -> Iterator[str]:
    for moment in ("state", "lastState"):
        for word in ("waiting", "terminated"):
            told = container.get(moment, {}).get(word)
            if told and told.get("reason") != "Completed":
                said = f"{told.get('reason', '')} {told.get('message', '')}".strip()
                yield f"  container {container['name']} ({moment}) {word}: {said}"


def events(kube: Kube) -> Iterator[str]:
    """Yield the newest Events, oldest first."""
    for event in sorted(kube.all("Event"), key=_when)[-EVENTS:]:
        about = event["involvedObject"]
        yield f"{event.get('type')} {about['kind']}/{about['name']} {event.get('reason')}: {event.get('message')}"


def _when(event: Mapping[str, Any]) -> str:
    stamp = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return str(stamp or "")
