"""The V2 protocol as far as a gateway reads it, without I/O: which call this is, on which model, with which timeout.

Over HTTP that is in the path, over gRPC in the method and in field 1 of the message. Messages are scanned field by
field and never copied whole.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from larder.errors import InvalidInputError

GRPC_SERVICE: Final = "inference.GRPCInferenceService"
LARGEST_PARSED_JSON_BYTES: Final = 256 * 1024
"""JSON above this is not parsed on the event loop; Triton judges it."""


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
    "/v2/": (PoolOperation.METADATA, "GET"),
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
    for field, wire, value in _fields(message):
        if field in texts and wire == _BYTES:
            texts[field] = _text(value)
    if operation is Operation.STATISTICS and not texts[1]:
        return PoolCall(PoolOperation.STATISTICS)
    return ModelCall(texts[1], operation, texts[2])


_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_LONGEST_VARINT_BYTES: Final = 10
_PARAMETERS_FIELD: Final = 4


def _malformed() -> InvalidInputError:
    return InvalidInputError("request message", "malformed protobuf", "it must be a message of the V2 protocol")


def _text(value: memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError("request message", bytes(value[:40]), "names must be UTF-8") from error


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT_BYTES):
        if at + index >= len(data):
            raise _malformed()
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
    raise _malformed()


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (field, wire type, value) of the top level; a varint's value is its bytes as encoded."""
    data = memoryview(message)
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        start, end = _extent(data, at, wire)
        if field == 0 or end > len(data):
            raise _malformed()
        yield field, wire, data[start:end]
        at = end


def _extent(data: memoryview, at: int, wire: int) -> tuple[int, int]:
    match wire:
        case 0:
            return at, _varint(data, at)[1]
        case 1:
            return at, at + 8
        case 2:
            length, start = _varint(data, at)
            return start, start + length
        case 5:
            return at, at + 4
    raise _malformed()


def grpc_timeout_seconds(message: bytes) -> float | None:
    """Return parameter `timeout` (microseconds, as tritonclient sends it) of a ModelInfer message, if it has one."""
    for field, wire, entry in _fields(message):
        if field == _PARAMETERS_FIELD and wire == _BYTES:
            parts = {number: value for number, kind, value in _fields(entry) if kind == _BYTES}
            if bytes(parts.get(1, b"")) == b"timeout":
                return _microseconds(_integer(parts.get(2, memoryview(b""))))
    return None


def _integer(parameter: memoryview) -> int | None:
    for field, wire, value in _fields(parameter):
        if field in (2, 5) and wire == _VARINT:
            return _varint(value, 0)[0]
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
