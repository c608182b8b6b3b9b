"""What is answered for the whole pool, as one virtual Triton.

- live: always. ready: the lists are read, the gateway does not drain, and a Triton pod is up.
- metadata: what a pod says, less the extensions that a pool refuses; without a pod, name `triton` and no extensions.
- index: every declared Model; READY where it may be asked now, else UNAVAILABLE with why. Versions are those last seen.
- statistics of all models: those of all pods, counters of one (model, version) added up.
- A Model that is resident nowhere is *ready* unless it is known that it can't be had: a request for it is held and
  answered, and a client that asks before it infers would otherwise never cause the load. Asked with a version that
  was not seen, the model is loaded to tell. (Of a resident one Envoy asks its pod.)
- metadata, configuration and statistics of a Model that is resident nowhere: as last seen, else it is loaded to tell.
"""

import asyncio
import json
from typing import Any, Final

from larder.errors import UnavailableError
from larder.gateway import refusals
from larder.gateway.http_upstream import HttpUpstream
from larder.gateway.last_seen import LastSeen, Seen
from larder.gateway.protocol import ModelCall, Operation
from larder.gateway.state import State

_NOT_RESIDENT: Final = "not resident: its first request loads it"
_REFUSED_EXTENSIONS: Final = frozenset(
    {"model_repository(unload_dependents)", "system_shared_memory", "cuda_shared_memory", "trace", "logging"}
)
Json = dict[str, Any]


class PoolAnswers:
    """Answers from the gateway's state and, where only Triton knows, from its pods."""

    def __init__(self, state: State, http: HttpUpstream, seen: LastSeen) -> None:
        self._state = state
        self._http = http
        self._seen = seen

    @property
    def ready(self) -> bool:
        """Whether the virtual server is ready."""
        return self._state.complete and not self._state.draining and bool(self.pod_ips())

    def pod_ips(self) -> list[str]:
        """Return the addresses of the Triton pods that are up."""
        pods = (self._state.pods or {}).values()
        return [pod.ip for pod in pods if pod.serving and pod.ip and not pod.terminating]

    def model_ready(self, call: ModelCall) -> bool | None:
        """Return whether a Model can be had; None: a pod has to be asked, or the lists are not read."""
        if call.operation is not Operation.READY or not self._state.complete:
            return None
        copies = self._state.copies(call.model)
        if call.version:
            seen = None if copies else self._seen.of(call.model)
            return True if seen is not None and call.version in seen.versions else None
        return bool(copies) or self._state.failure(call.model) is None

    def last_seen(self, call: ModelCall) -> Seen | None:
        """Return what answers a question about a Model that is resident nowhere; None: a pod has to be asked."""
        return self._seen.answering(call)

    async def metadata(self) -> Json:
        """Return the server's metadata."""
        for ip in self.pod_ips():
            try:
                status, body = await self._http.ask(ip, "GET", "/v2")
            except UnavailableError:
                continue
            if status == 200:
                metadata = dict(json.loads(body))
                return {**metadata, "extensions": [e for e in metadata["extensions"] if e not in _REFUSED_EXTENSIONS]}
        return {"name": "triton", "version": "", "extensions": []}

    def index(self, *, only_ready: bool) -> list[Json]:
        """Return the repository index."""
        entries = [entry for name in sorted(self._state.models or {}) for entry in self._index_entries(name)]
        return [entry for entry in entries if entry["state"] == "READY" or not only_ready]

    def _index_entries(self, name: str) -> list[Json]:
        if self._state.copies(name):
            seen = self._seen.of(name)
            versions = seen.versions if seen is not None else ()
            return [{"name": name, "version": version, "state": "READY"} for version in versions or ("",)]
        failure = self._state.failure(name)
        reason = failure.message if failure is not None else _NOT_RESIDENT
        return [{"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason}]

    async def statistics(self) -> Json:
        """Return the statistics of every resident model. Raises RefusalError when no pod answers."""
        asked = [self._http.ask(ip, "GET", "/v2/models/stats") for ip in self.pod_ips()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        bodies = [answer[1] for answer in answers if not isinstance(answer, BaseException) and answer[0] == 200]
        if not bodies:
            raise refusals.no_pod()
        models: dict[tuple[str, str], Json] = {}
        for body in bodies:
            for entry in json.loads(body)["model_stats"]:
                key = (entry["name"], entry.get("version", ""))
                models[key] = _added(models[key], entry) if key in models else entry
        return {"model_stats": list(models.values())}


def _added(one: Any, other: Any, key: str = "") -> Any:
    """Add up two statistics: counters are added, times of last use are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: _added(one.get(name), other.get(name), name) for name in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return [_added(a, b) for a, b in zip(one, other, strict=True)] if len(one) == len(other) else one + other
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, int) and isinstance(other, int) and key != "batch_size":
        return max(one, other) if key == "last_inference" else one + other
    return one
