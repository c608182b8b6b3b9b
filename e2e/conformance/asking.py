"""How a call is made and what of its answer counts: status, the headers that mean something, and the body.

Times and counters differ from server to server; of statistics only the shape counts.
"""

import json
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import urllib3
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

SECONDS: Final = 60.0
_HEADERS: Final = ("content-type", "content-encoding", "inference-header-content-length")
_COUNTED: Final = frozenset({"model_stats", "modelStats"})
_FIRST_DEFLATE_BYTE: Final = 0x78


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered."""

    status: int | str
    headers: tuple[tuple[str, str], ...]
    body: Any


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One HTTP request."""

    name: str
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, server: "Server") -> Answer:
        """Make the call."""
        reply = server.http.request(
            self.method,
            f"http://{server.http_address}{self.path}",
            body=self.body or None,
            headers=self.headers,
            timeout=SECONDS,
            decode_content=False,
        )
        headers = tuple((name, reply.headers[name]) for name in _HEADERS if name in reply.headers)
        return Answer(reply.status, headers, _body(_inflated(reply.data, reply.headers.get("content-encoding"))))


@dataclass(frozen=True, slots=True)
class GrpcCall:
    """One unary gRPC call."""

    name: str
    method: str
    request: Any
    compression: grpc.Compression | None = None

    def ask(self, server: "Server") -> Answer:
        """Make the call."""
        method = getattr(server.grpc, self.method)
        try:
            message = method(self.request, timeout=SECONDS, compression=self.compression)
        except grpc.RpcError as error:
            return Answer(error.code().name, (), error.details())
        return Answer("OK", (), _counted(json_format.MessageToDict(message)))


@dataclass(frozen=True, slots=True)
class StreamCall:
    """One gRPC stream: all messages are sent, then all answers read. Those of one model have an order."""

    name: str
    requests: tuple[Any, ...]

    def ask(self, server: "Server") -> Answer:
        """Make the call."""
        try:
            found = list(server.grpc.ModelStreamInfer(iter(self.requests), timeout=SECONDS))
        except grpc.RpcError as error:
            return Answer(error.code().name, (), error.details())
        answers = [json_format.MessageToDict(message) for message in found]
        return Answer("OK", (), sorted(answers, key=_model))


Call = HttpCall | GrpcCall | StreamCall


class Server:
    """Where a Triton, or what looks like one, is reached."""

    def __init__(self, http_address: str, grpc_address: str) -> None:
        self.http_address = http_address
        self.http = urllib3.PoolManager(retries=False)
        self._channel = grpc.insecure_channel(grpc_address)
        self.grpc = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """End its connections."""
        self.http.clear()
        self._channel.close()


def _model(answer: dict[str, Any]) -> str:
    inner = answer.get("inferResponse", {})
    return str(inner.get("modelName") or inner.get("id") or "")


def _inflated(data: bytes, encoding: str | None) -> bytes:
    if not data or encoding not in ("gzip", "deflate"):
        return data
    return zlib.decompress(data, 47)


def _body(data: bytes) -> Any:
    try:
        return _counted(json.loads(data))
    except ValueError:
        return data


def _counted(body: Any) -> Any:
    """Of statistics only names stay."""
    if isinstance(body, dict) and (found := _COUNTED & body.keys()):
        return {key: [(entry["name"], entry.get("version"), sorted(entry)) for entry in body[key]] for key in found}
    return body


def raw(*numbers: int) -> bytes:
    """Return INT32 tensor data."""
    return b"".join(number.to_bytes(4, "little", signed=True) for number in numbers)


def words(text: str) -> bytes:
    """Return BYTES tensor data of one string."""
    return len(text.encode()).to_bytes(4, "little") + text.encode()


def inference(model: str, number: int = 1, **fields: Any) -> service_pb2.ModelInferRequest:
    """Return a request for a probe."""
    request = service_pb2.ModelInferRequest(model_name=model, **fields)
    request.inputs.add(name="INPUT0", datatype="INT32", shape=[1])
    request.outputs.add(name="OUTPUT0")
    request.raw_input_contents.append(raw(number))
    return request


def text_inference(model: str, text: str, **fields: Any) -> service_pb2.ModelInferRequest:
    """Return a request for a model from text to text."""
    request = service_pb2.ModelInferRequest(model_name=model, **fields)
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(words(text))
    return request
