"""Control of one Triton pod over gRPC: load, unload, index, configuration, statistics; and its metrics over HTTP.

Facts that callers rely on: a load answers when the model is ready, and giving up on it does not stop it; an unload
answers at once, and the index tells when it ended; the whole index lists the repository's folder on every call.
Counters of a model stay in the metrics until it has drained, ended and given its memory back, and go in the moment in
which the index says so (measured on 2.51).
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import aiohttp
import grpc
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as stubs

from larder.adapters.triton_metrics import read_page
from larder.api import names
from larder.errors import TritonError, UnavailableError

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_COUNTER: Final = re.compile(r'^nv_inference_request_success\{model="([^"]+)"', re.MULTILINE)

BESIDE_FROM_LINES: Final = 500
"""From so many lines on reading an index takes longer than the event loop may be held."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
_AWAY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class IndexState(StrEnum):
    """A model's state in Triton's repository index."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


_MOST_PRESENT_FIRST: Final = (
    IndexState.UNLOADING,
    IndexState.LOADING,
    IndexState.READY,
    IndexState.UNAVAILABLE,
)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One model of the index, over all its versions. `reason` is Triton's own, empty where it gives none."""

    state: IndexState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """Counters of one model since it was loaded: inferences that succeeded and failed, and the time they took.

    What a client did wrong (a type, a shape) is not counted as failed.
    """

    succeeded: int
    failed: int
    computed: int
    compute_seconds: float
    failed_seconds: float = 0.0
    queue_seconds: float = 0.0


def _entries(index: Any) -> dict[str, IndexEntry]:
    entries: dict[str, IndexEntry] = {}
    for line in index.models:
        if line.state:
            entry = IndexEntry(_state(line.state), line.reason)
            entries[line.name] = _more_present(entries.get(line.name), entry)
    return entries


class TritonControl:
    """One channel to one Triton server. Every call is bounded by a timeout in seconds.

    Raises TritonError where Triton refuses and UnavailableError where it does not answer in time.
    """

    def __init__(self, address: str, admin_key: str, metrics_address: str | None = None) -> None:
        self._address = address
        self._metrics = metrics_address or f"{address.rpartition(':')[0]}:{names.METRICS_PORT}"
        self._session: aiohttp.ClientSession | None = None
        self._metadata = ((f"triton-grpc-protocol-{names.TRITON_ADMIN_HEADER}", admin_key),)
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub: Any = stubs.GRPCInferenceServiceStub(self._channel)

    async def load(self, model: str, timeout_seconds: float) -> None:
        """Load the model, or load it again; returns when it is ready."""
        request = messages.RepositoryModelLoadRequest(model_name=model)
        await self._call(self._stub.RepositoryModelLoad, request, timeout_seconds)

    async def unload(self, model: str, timeout_seconds: float) -> None:
        """Start unloading; OK for a model that is not there. The index tells when it has ended."""
        request = messages.RepositoryModelUnloadRequest(model_name=model)
        await self._call(self._stub.RepositoryModelUnload, request, timeout_seconds)

    async def index(self, timeout_seconds: float) -> Mapping[str, IndexEntry]:
        """Return the whole repository index by model name, without models that were never loaded.

        That of a large repository is read beside the event loop.
        """
        answer = await self._call(self._stub.RepositoryIndex, messages.RepositoryIndexRequest(), timeout_seconds)
        if len(answer.models) < BESIDE_FROM_LINES:
            return _entries(answer)
        return await asyncio.to_thread(_entries, answer)

    async def members(self, model: str, timeout_seconds: float) -> tuple[str, ...]:
        """Return the names of the models that a resident ensemble calls; empty for any other model."""
        answer = await self._call(self._stub.ModelConfig, messages.ModelConfigRequest(name=model), timeout_seconds)
        steps = answer.config.ensemble_scheduling.step if answer.config.HasField("ensemble_scheduling") else ()
        return tuple(sorted({str(step.model_name) for step in steps}))

    async def statistics(self, timeout_seconds: float) -> Mapping[str, Execution]:
        """Return the counters of every resident model, summed over its versions."""
        answer = await self._call(self._stub.ModelStatistics, messages.ModelStatisticsRequest(), timeout_seconds)
        totals: dict[str, Execution] = {}
        for line in answer.model_stats:
            totals[line.name] = _add(totals.get(line.name), line.inference_stats)
        return totals

    async def counted(self, timeout_seconds: float) -> frozenset[str] | None:
        """Return the models that the metrics have counters of, those included that are leaving; None: none are told."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            page = await read_page(self._session, self._metrics, timeout_seconds)
        except UnavailableError as error:
            log.debug("%s", error)
            return None
        return frozenset(_COUNTER.findall(page))

    async def live(self, timeout_seconds: float) -> bool:
        """Whether the server answers that it is live; False as well where nothing answers."""
        try:
            answer = await self._call(self._stub.ServerLive, messages.ServerLiveRequest(), timeout_seconds)
        except (UnavailableError, TritonError):
            return False
        return bool(answer.live)

    async def close(self) -> None:
        """Close the channel; calls under way end with UnavailableError, what they started in Triton goes on."""
        await self._channel.close(None)
        if self._session is not None:
            await self._session.close()

    async def _call(self, method: Callable[..., Awaitable[_T]], request: object, timeout_seconds: float) -> _T | Any:
        try:
            return await method(request, timeout=timeout_seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, timeout_seconds) from error
        except grpc.aio.UsageError as error:
            raise UnavailableError(f"Triton at {self._address}: the channel is closed") from error
        except asyncio.CancelledError as error:
            # A channel that is closed cancels its calls. That is not the cancellation of who waits for one.
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise UnavailableError(f"Triton at {self._address}: the channel was closed") from error

    def _translated(self, error: grpc.aio.AioRpcError, timeout_seconds: float) -> TritonError | UnavailableError:
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(f"Triton at {self._address} did not answer within {timeout_seconds:g} s")
        if code in _AWAY:
            return UnavailableError(f"Triton at {self._address} is away: {details}")
        return TritonError(code.name, details)


def _state(text: str) -> IndexState:
    """Triton leaves the state empty for a model that was never asked for."""
    try:
        return IndexState(text)
    except ValueError:
        return IndexState.UNAVAILABLE


def _more_present(one: IndexEntry | None, other: IndexEntry) -> IndexEntry:
    """Of two versions, the one that must be reckoned with: changing, then ready, then absent."""
    if one is None:
        return other
    return min(one, other, key=lambda entry: _MOST_PRESENT_FIRST.index(entry.state))


def _add(total: Execution | None, statistics: Any) -> Execution:
    before = total or Execution(0, 0, 0, 0.0)
    phases = (statistics.compute_input, statistics.compute_infer, statistics.compute_output)
    return Execution(
        before.succeeded + statistics.success.count,
        before.failed + statistics.fail.count,
        before.computed + statistics.compute_infer.count,
        before.compute_seconds + sum(phase.ns for phase in phases) / 1e9,
        before.failed_seconds + statistics.fail.ns / 1e9,
        before.queue_seconds + statistics.queue.ns / 1e9,
    )
