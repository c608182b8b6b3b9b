"""The V2 protocol as far as a gateway reads it, without I/O: which call this is, on which model, with which timeout.

Over HTTP that is in the path, over gRPC in the method and in field 1 of the message.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from larder.errors import InvalidInputError
from larder.gateway import wire

GRPC_SERVICE: Final = "inference.GRPCInferenceService"
LARGEST_PARSED_JSON_BYTES: Final = 256 * 1024
"""JSON above this is not parsed on the event loop; Triton judges it."""
_PARAMETERS_FIELD: Final = 4


class Operation(StrEnum):
    """What is asked of one model."""

    INFER = "infer"
    GENERATE = "generate"
    GENERATE_STREAM = "generate_stream"
    READY = "ready"
    METADATA = "metadata"
    CONFIG = "config"
    STATISTICS = "stats"

    @property
    def runs_the_model(self) -> bool:
        """Whether it executes the model, so that a repeat may run it twice."""
        return self in {Operation.INFER, Operation.GENERATE, Operation.GENERATE_STREAM}


class PoolOperation(StrEnum):
    """What is asked of the whole virtual server."""

    LIVE = "live"
    READY = "ready"
    METADATA = "metadata"
    INDEX = "index"
    STATISTICS = "stats"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call on one model. `version` is empty where the request names none."""

    model: str
    operation: Operation
    version: str = ""


@dataclass(frozen=True, slots=True)
class PoolCall:
    """A call that is answered for the pool."""

    operation: PoolOperation


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that no client of a pool may make, and the sentence that says why."""

    message: str


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """A known path asked with the wrong HTTP method."""

    allowed: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not a call of the V2 protocol."""


Call = ModelCall | PoolCall | Refused | WrongMethod | Unknown

_LOADING: Final = Refused("models of a pool are loaded and unloaded by Larder; declare a Model instead")
_SHARED_MEMORY: Final = Refused(
    "shared memory is not available through a pool: client and server run on other machines"
)
_TRACING: Final = Refused("trace settings of a pool's servers are not open to its clients")
_LOGGING: Final = Refused("log settings of a pool's servers are not open to its clients")

_MODEL_PATH: Final = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[0-9]+))?"
    r"(?:/(?P<tail>infer|generate|generate_stream|ready|config|stats|trace/setting))?"
)
_TAILS: Final = {
    None: (Operation.METADATA, "GET"),
    "infer": (Operation.INFER, "POST"),
    "generate": (Operation.GENERATE, "POST"),
    "generate_stream": (Operation.GENERATE_STREAM, "POST"),
    "ready": (Operation.READY, "GET"),
    "config": (Operation.CONFIG, "GET"),
    "stats": (Operation.STATISTICS, "GET"),
}
_POOL_PATHS: Final = {
    "/v2": (PoolOperation.METADATA, "GET"),
    "/v2/health/live": (PoolOperation.LIVE, "GET"),
    "/v2/health/ready": (PoolOperation.READY, "GET"),
    "/v2/models/stats": (PoolOperation.STATISTICS, "GET"),
    "/v2/repository/index": (PoolOperation.INDEX, "POST"),
}
_REFUSED_PATHS: Final = (
    (re.compile(r"/v2/repository(/[^/]+)?/models/[^/]+/(load|unload)"), _LOADING),
    (re.compile(r"/v2/(system|cuda|xpu)sharedmemory(/.*)?"), _SHARED_MEMORY),
    (re.compile(r"/v2/trace/setting"), _TRACING),
    (re.compile(r"/v2/logging"), _LOGGING),
)


def parse_http(method: str, target: str) -> Call:
    """Return what a request line asks for. `target` is as sent: percent-encoded, perhaps with a query."""
    path = target.partition("?")[0]
    if path in _POOL_PATHS:
        operation, allowed = _POOL_PATHS[path]
        return PoolCall(operation) if method == allowed else WrongMethod(allowed)
    if match := _MODEL_PATH.fullmatch(path):
        return _model_call(method, match)
    for pattern, refusal in _REFUSED_PATHS:
        if pattern.fullmatch(path):
            return refusal
    return Unknown()


def _model_call(method: str, match: re.Match[str]) -> Call:
    if match["tail"] == "trace/setting":
        return _TRACING
    operation, allowed = _TAILS[match["tail"]]
    if method != allowed:
        return WrongMethod(allowed)
    name = unquote_to_bytes(match["model"]).decode(errors="replace")
    return ModelCall(name, operation, match["version"] or "")


_GRPC_MODEL_METHODS: Final = {
    "ModelInfer": Operation.INFER,
    "ModelReady": Operation.READY,
    "ModelMetadata": Operation.METADATA,
    "ModelConfig": Operation.CONFIG,
    "ModelStatistics": Operation.STATISTICS,
}
_GRPC_POOL_METHODS: Final = {
    "ServerLive": PoolOperation.LIVE,
    "ServerReady": PoolOperation.READY,
    "ServerMetadata": PoolOperation.METADATA,
    "RepositoryIndex": PoolOperation.INDEX,
}
_GRPC_REFUSED_METHODS: Final = {
    "RepositoryModelLoad": _LOADING,
    "RepositoryModelUnload": _LOADING,
    "TraceSetting": _TRACING,
    "LogSettings": _LOGGING,
    **{
        f"{kind}SharedMemory{verb}": _SHARED_MEMORY
        for kind in ("System", "Cuda", "Xpu")
        for verb in ("Status", "Register", "Unregister")
    },
}


def parse_grpc(method: str, message: bytes) -> Call:
    """Return what a unary call asks for. `method` is the bare name. Raises InvalidInputError on a malformed message."""
    if method in _GRPC_REFUSED_METHODS:
        return _GRPC_REFUSED_METHODS[method]
    if method in _GRPC_POOL_METHODS:
        return PoolCall(_GRPC_POOL_METHODS[method])
    operation = _GRPC_MODEL_METHODS.get(method)
    if operation is None:
        return Unknown()
    texts = {1: "", 2: ""}
    for field, kind, value in wire.fields(message):
        if field in texts and kind == wire.BYTES:
            texts[field] = wire.text(value)
    if operation is Operation.STATISTICS and not texts[1]:
        return PoolCall(PoolOperation.STATISTICS)
    return ModelCall(texts[1], operation, texts[2])


def grpc_timeout_seconds(message: bytes) -> float | None:
    """Return parameter `timeout` (microseconds, as tritonclient sends it) of a ModelInfer message, if it has one."""
    for key, value in wire.parameters(message, _PARAMETERS_FIELD):
        if key == b"timeout":
            return _microseconds(wire.integer(value, 2, 5))
    return None


def _microseconds(value: object) -> float | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63:
        return value / 1e6
    return None


def http_timeout_seconds(body: bytes, header_length: int | None) -> float | None:
    """Return `parameters.timeout` (microseconds) of an inference request, if it has one.

    `header_length` is Inference-Header-Content-Length, where JSON is followed by binary data. Raises
    InvalidInputError where the JSON is malformed, so that no model is loaded for it.
    """
    text = body if header_length is None else body[:header_length]
    if not 0 < len(text) <= LARGEST_PARSED_JSON_BYTES:
        return None
    try:
        request = json.loads(text.decode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            "request body", text[:40].decode(errors="replace"), f"it must be JSON: {error}"
        ) from error
    parameters = request.get("parameters") if isinstance(request, dict) else None
    return _microseconds(parameters.get("timeout")) if isinstance(parameters, dict) else None
