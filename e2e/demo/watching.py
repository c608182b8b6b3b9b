"""What happens in the demo's namespace while it runs: residency as the pods say it, and the reasons as Events.

Each of the two is followed by a thread of its own; whoever tells the story waits on what they saw.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from e2e.kube import Kube, WaitTimeoutError
from e2e.served import served
from larder.api.names import COMPONENT_LABEL, TRITON
from larder.errors import LarderError

PAUSE_SECONDS: Final = 0.5
"""Before watching again when the API server did not answer."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A model began (`is_here`) or ceased to be served by a pod."""

    model: str
    pod: str
    is_here: bool


@dataclass(frozen=True, slots=True)
class Said:
    """An Event about a Model or a ModelPool."""

    about: str
    reason: str
    message: str
    is_warning: bool


Happening = Moved | Said


class Watching:
    """Follows one namespace until stopped. `tell` is called from its threads, one call at a time."""

    def __init__(self, kube: Kube, tell: Callable[[Happening], None]) -> None:
        self._kube = kube
        self._tell = tell
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._residents: dict[str, frozenset[str]] = {}
        self._seen_events: set[tuple[str, str]] = set()

    def start(self) -> None:
        """Begin to follow; Events of before are not told."""
        self._seen_events = {_identity(event) for event in self._kube.all("Event")}
        for kind, take in (("Pod", self._take_pod), ("Event", self._take_event)):
            threading.Thread(target=self._follow, args=(kind, take), daemon=True, name=f"watch-{kind}").start()

    def stop(self) -> None:
        """Tell nothing more; the threads end with their present watch."""
        self._stopped.set()

    def residents(self) -> frozenset[str]:
        """Return the models that some pod serves now."""
        with self._changed:
            return frozenset().union(*self._residents.values())

    def wait(self, holds: Callable[[frozenset[str]], bool], timeout_seconds: float, what: str) -> None:
        """Wait until `holds` of the resident models. Raises WaitTimeoutError, saying `what` was waited for."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while not holds(frozenset().union(*self._residents.values())):
                left_seconds = deadline - time.monotonic()
                if left_seconds <= 0:
                    raise WaitTimeoutError(f"after {timeout_seconds:.0f} s still not: {what}")
                self._changed.wait(left_seconds)

    def _follow(self, kind: str, take: Callable[[str, Mapping[str, Any]], None]) -> None:
        while not self._stopped.is_set():
            try:
                for change, item in self._kube.changes(kind, seconds=60):
                    if self._stopped.is_set():
                        return
                    take(change, item)
            except LarderError:
                self._stopped.wait(PAUSE_SECONDS)

    def _take_pod(self, change: str, pod: Mapping[str, Any]) -> None:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("labels", {}).get(COMPONENT_LABEL) != TRITON:
            return
        now = frozenset() if change == "DELETED" else served(pod)
        with self._changed:
            before = self._residents.get(name, frozenset())
            self._residents[name] = now
            for model in sorted(before - now):
                self._tell(Moved(model, name, False))
            for model in sorted(now - before):
                self._tell(Moved(model, name, True))
            self._changed.notify_all()

    def _take_event(self, change: str, event: Mapping[str, Any]) -> None:
        about = event.get("involvedObject", {})
        identity = _identity(event)
        if change == "DELETED" or about.get("kind") not in {"Model", "ModelPool"}:
            return
        with self._changed:
            if identity in self._seen_events:
                return
            self._seen_events.add(identity)
            name = f"{about['kind']}/{about['name']}"
            is_warning = event.get("type") == "Warning"
            self._tell(Said(name, event.get("reason", ""), event.get("message", ""), is_warning))


def _identity(event: Mapping[str, Any]) -> tuple[str, str]:
    """An Event that is repeated is the same object with a higher count."""
    return event["metadata"]["name"], str(event.get("count"))
