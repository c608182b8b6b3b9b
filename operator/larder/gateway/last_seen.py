"""What pods last said of each declared model: metadata, configuration and statistics, in both protocols' own bytes.

So who asks about a model that is resident nowhere does not load it. Asked of a pod soon after the model came there,
statistics once more as it leaves; kept within a bound of bytes, the oldest goes first. An answer counts for the
revision that it was given for.
"""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from tritonclient.grpc import service_pb2

from larder.errors import UnavailableError
from larder.gateway.grpc_upstream import GrpcUpstream
from larder.gateway.http_upstream import HttpUpstream
from larder.gateway.protocol import ModelCall, Operation
from larder.gateway.routes import Endpoint
from larder.gateway.state import State

MOST_BYTES: Final = 32 * 1024 * 1024
LOOK_SECONDS: Final = 1.0
"""New models are asked about no sooner: the requests that waited for them go first."""
AT_ONCE: Final = 16
ANSWER_SECONDS: Final = 1.0
_OPERATIONS: Final = (Operation.METADATA, Operation.CONFIG, Operation.STATISTICS)
_GRPC: Final = {
    Operation.METADATA: ("ModelMetadata", service_pb2.ModelMetadataRequest),
    Operation.CONFIG: ("ModelConfig", service_pb2.ModelConfigRequest),
    Operation.STATISTICS: ("ModelStatistics", service_pb2.ModelStatisticsRequest),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One model as pods last showed it."""

    revision: str
    versions: tuple[str, ...]
    http: Mapping[Operation, bytes]
    grpc: Mapping[Operation, bytes]

    @property
    def size_bytes(self) -> int:
        """What it takes of memory, about."""
        return sum(map(len, (*self.http.values(), *self.grpc.values())))


class Shelf:
    """What was seen, by model, within a bound."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self.bytes = 0

    def put(self, model: str, seen: Seen) -> None:
        """Keep it instead of what was seen before."""
        self.drop(model)
        self._seen[model] = seen
        self.bytes += seen.size_bytes
        while self.bytes > self._most_bytes:
            self.drop(next(iter(self._seen)))

    def drop(self, model: str) -> None:
        """Forget a model."""
        if (seen := self._seen.pop(model, None)) is not None:
            self.bytes -= seen.size_bytes

    def get(self, model: str) -> Seen | None:
        """Return what was seen of a model."""
        return self._seen.get(model)

    def models(self) -> list[str]:
        """Return what is on it."""
        return list(self._seen)


class LastSeen:
    """Fills the shelf, and answers from it."""

    def __init__(self, state: State, http: HttpUpstream, calls: GrpcUpstream) -> None:
        self._state = state
        self._http = http
        self._calls = calls
        self._shelf = Shelf()

    def of(self, model: str) -> Seen | None:
        """Return what was seen of the declared revision."""
        seen = self._shelf.get(model)
        return seen if seen is not None and seen.revision == self._state.declared_revision(model) else None

    def answering(self, call: ModelCall) -> Seen | None:
        """Return what answers this call of a model that is resident nowhere; None: a pod has to be asked."""
        if call.operation not in _OPERATIONS or self._state.copies(call.model):
            return None
        seen = self.of(call.model)
        return seen if seen is not None and (not call.version or seen.versions == (call.version,)) else None

    async def run(self) -> None:
        """Look at every change of the routes, until cancelled."""
        copies, count, next_look = self._state.table.copies, 0, 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    count = await self._state.routed.after(count)
            before, copies = copies, self._state.table.copies
            left = [(model, before[model][0]) for model in before.keys() - copies.keys()]
            await asyncio.gather(*(self._count(model, endpoint) for model, endpoint in left[:AT_ONCE]))
            if self._state.now_seconds() >= next_look:
                await asyncio.gather(*(self._look(model, copies[model][0]) for model in self._unseen(copies)))
                self._forget_undeclared()
                next_look = self._state.now_seconds() + LOOK_SECONDS

    def _unseen(self, copies: Mapping[str, tuple[Endpoint, ...]]) -> list[str]:
        found = (model for model in copies if self._state.declared(model) and self.of(model) is None)
        return [model for model, _ in zip(found, range(AT_ONCE), strict=False)]

    def _forget_undeclared(self) -> None:
        for model in self._shelf.models():
            if not self._state.declared(model):
                self._shelf.drop(model)

    async def _look(self, model: str, endpoint: Endpoint) -> None:
        resident = self._state.resident(endpoint.pod_uid, model)
        http, grpc = await self._ask(model, endpoint, _OPERATIONS)
        if resident is None or http.keys() != set(_OPERATIONS) or grpc.keys() != set(_OPERATIONS):
            return
        versions = tuple(json.loads(http[Operation.METADATA]).get("versions", ()))
        self._shelf.put(model, Seen(resident.revision, versions, http, grpc))

    async def _count(self, model: str, endpoint: Endpoint) -> None:
        """Take the statistics of a model that leaves its last pod, if it is there still."""
        seen = self._shelf.get(model)
        if seen is None:
            return
        http, grpc = await self._ask(model, endpoint, (Operation.STATISTICS,))
        if http and grpc:
            self._shelf.put(model, replace(seen, http={**seen.http, **http}, grpc={**seen.grpc, **grpc}))

    async def _ask(
        self, model: str, endpoint: Endpoint, operations: Iterable[Operation]
    ) -> tuple[dict[Operation, bytes], dict[Operation, bytes]]:
        http, grpc = {}, {}
        with contextlib.suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                for operation in operations:
                    tail = "" if operation is Operation.METADATA else f"/{operation}"
                    target = f"/v2/models/{quote(model, safe='')}{tail}"
                    status, body = await self._http.ask(endpoint.ip, "GET", target)
                    method, kind = _GRPC[operation]
                    message = await self._calls.ask(endpoint.ip, method, kind(name=model).SerializeToString())
                    if status == 200:
                        http[operation], grpc[operation] = body, message
        return http, grpc
