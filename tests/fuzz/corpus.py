"""Hostile payloads from a seed: the same seed and count give the same payloads, without I/O.

Most are right calls, mutated: bytes flipped, cut, repeated, swollen. The others are hostile by design.
"""

import gzip
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes

from tritonclient.grpc import service_pb2 as pb

HOT, COLD = "hot", "cold"
"""A model that a pod serves, and one that is declared and never comes."""
BODY_LIMIT_BYTES: Final = 1024 * 1024
METHODS: Final = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI", "\x00", "get")
RPC_METHODS: Final = (
    *("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"),
    *("ModelInfer", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryRegister"),
    *("CudaSharedMemoryStatus", "TraceSetting", "LogSettings", "ModelStreamInfer", "Nothing", "\u00e9", ""),
)
TAILS: Final = (
    *("/infer", "/generate", "/generate_stream", "", "/ready", "/config", "/stats", "/versions/1/infer"),
    *("/versions/99999999999999999999/infer", "/trace/setting", "/nothing", "//", "/infer/", "?x=%", "#"),
)
POOL_PATHS: Final = (
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats", "/v2/repository/index", "/", "*", "//v2"),
    *("/v2/repository/models/hot/load", "/v2/systemsharedmemory/region/a/register", "/v2/cudasharedmemory/status"),
    *("/v2/logging", "/v2/trace/setting", "/v2/../v2", "http://elsewhere/v2", "/v2/models/%2e%2e/infer"),
)
INFERENCE: Final = {"id": "1", "inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [1]}]}
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes for a port (`http`, `grpc`, `demand` or `probe`), written piece by piece."""

    kind: str
    port: str
    pieces: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rpc:
    """Messages for a gRPC method; `ModelStreamInfer` takes several."""

    kind: str
    method: str
    messages: tuple[bytes, ...]


Payload = Raw | Rpc


def payloads(seed: int, count: int) -> Iterator[Payload]:
    """Yield `count` payloads."""
    makers = itertools.cycle(_MAKERS)
    for number, make in zip(range(count), makers, strict=False):
        yield make(random.Random(f"{seed}/{number}"), number)


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Return the bytes with a few things done to them."""
    found = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(6):
            case 0:
                found[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del found[at : at + chance.randrange(1, 16)]
            case 2:
                found[at:at] = chance.randbytes(chance.randrange(1, 16))
            case 3:
                found[at:at] = found[at : at + 32] * chance.randrange(1, 8)
            case 4:
                del found[at:]
            case 5:
                found[at:at] = chance.choice(
                    (b"\xff" * 12, b"\x00" * 8, b"9" * 30, b"[" * 2000, b'{"a":' * 500, b"%00")
                )
    return bytes(found)


def name(chance: random.Random, number: int) -> bytes:
    """Return a model's name: one that is declared, or any bytes."""
    if chance.random() < 0.4:
        return chance.choice((HOT, HOT, COLD)).encode()
    strange = bytes([number % 256]), chance.randbytes(chance.randrange(1, 40)), b"a" * 5000, b"../" * 5, b"$(id)", b""
    return chance.choice(strange)


def request(method: str, path: bytes, headers: dict[str, str], body: bytes) -> bytes:
    """Return a whole HTTP request that ends its connection."""
    given = {"Host": "pool", "Connection": "close", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{key}: {value}\r\n" for key, value in given.items())
    return method.encode() + b" " + path + b" HTTP/1.1\r\n" + lines.encode("latin-1") + b"\r\n" + body


def _path(chance: random.Random, number: int) -> bytes:
    if chance.random() < 0.3:
        return chance.choice(POOL_PATHS).encode()
    model = name(chance, number)
    shown = model if chance.random() < 0.3 else quote_from_bytes(model, safe="").encode()
    return b"/v2/models/" + shown + chance.choice(TAILS).encode()


def _http_call(chance: random.Random, number: int) -> Payload:
    body = mutated(chance, json.dumps(INFERENCE).encode())
    headers = chance.choice(
        (
            {},
            {},
            {"Inference-Header-Content-Length": chance.choice(("5", "-1", "99999", "x", "\u00b2", "9" * 40))},
            {"Content-Encoding": chance.choice(("gzip", "deflate", "br", "\x7f"))},
            {"Content-Length": chance.choice(("-5", "99", "1e3", "0x10", "184467440737095516160", "5, 5"))},
            {"Transfer-Encoding": "chunked"},
            {"Expect": "100-continue"},
            {"X-Envoy-Ratelimited": "true", "X-Envoy-Max-Retries": "1000", "X-Envoy-Upstream-Alt-Stat-Name": "x"},
            {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"},
        )
    )
    return Raw("http call", "http", (request(chance.choice(METHODS[:4]), _path(chance, number), headers, body),))


def _http_mutated(chance: random.Random, number: int) -> Payload:
    whole = request(chance.choice(METHODS), _path(chance, number), {}, json.dumps(INFERENCE).encode())
    return Raw("http mutated", "http", (mutated(chance, whole),))


def _truncated(chance: random.Random, number: int) -> Payload:
    body = json.dumps(INFERENCE).encode()
    whole = request("POST", b"/v2/models/" + name(chance, number) + b"/infer", {}, body)
    return Raw("truncated", chance.choice(("http", "grpc")), (whole[: chance.randrange(len(whole))],))


def _headers(chance: random.Random, number: int) -> Payload:
    headers = chance.choice(
        (
            {"X-Huge": "a" * 100_000},
            {f"X-{n}": "b" for n in range(500)},
            {"X-" + "n" * 20_000: "1"},
            {"Host": "a" * 8000},
            {"Authorization": "Bearer " + "x" * 30_000},
        )
    )
    return Raw(
        "huge headers", chance.choice(("http", "grpc", "demand", "probe")), (request("GET", b"/v2", headers, b""),)
    )


def _chunked(chance: random.Random, number: int) -> Payload:
    head = request("POST", b"/v2/models/" + name(chance, number) + b"/infer", {"Transfer-Encoding": "chunked"}, b"")
    head = head.replace(b"Content-Length: 0\r\n", b"")
    pieces = chance.choice(
        (
            (b"5\r\nhello\r\n", b"0\r\n\r\n"),
            (b"ffffffffffffffffffff\r\n", b"x" * 100),
            (b"-1\r\n",),
            (b"zz\r\n",),
            (b"1;" + b"e" * 50_000 + b"\r\nx\r\n0\r\n\r\n",),
            tuple(b"10000\r\n" + bytes(65536) + b"\r\n" for _ in range(20)),
        )
    )
    return Raw("chunked", "http", (head, *pieces))


def _frames(chance: random.Random, number: int) -> Payload:
    """HTTP/2 frames of any type and length, after a right preface most of the time."""
    frames = []
    for _ in range(chance.randrange(1, 12)):
        body = chance.randbytes(chance.randrange(64))
        length = chance.choice((len(body), len(body), chance.randrange(1 << 24)))
        stream = chance.choice((0, 1, 1, 3, 2**31 - 1))
        kind, flags = chance.randrange(12), chance.randrange(256)
        frames.append(length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body)
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    start = PREFACE + settings if chance.random() < 0.8 else mutated(chance, PREFACE)
    return Raw("frames", chance.choice(("grpc", "http")), (start, *frames))


def _noise(chance: random.Random, number: int) -> Payload:
    port = chance.choice(("http", "grpc", "demand", "probe"))
    return Raw("noise", port, (chance.randbytes(chance.randrange(1, 2000)),))


def _demand(chance: random.Random, number: int) -> Payload:
    """The demand stream without its token, or with a wrong one."""
    key = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    token = chance.choice(
        ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}, {"Authorization": ""})
    )
    headers = {**key, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **token}
    whole = request("GET", b"/v1/demand", headers, b"")
    return Raw("demand without token", "demand", (mutated(chance, whole) if chance.random() < 0.3 else whole,))


def _message(chance: random.Random, number: int) -> bytes:
    message = pb.ModelInferRequest(id="1")
    message.inputs.add(name="IN", datatype="INT32", shape=[1])
    message.parameters["timeout"].int64_param = chance.choice((1, 1000, 2**62, -1))
    message.raw_input_contents.append(chance.randbytes(chance.choice((0, 4, 400))))
    found = name(chance, number)
    head = b"\x0a" + _varint(len(found)) + found
    return mutated(chance, head + message.SerializeToString())


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _rpc(chance: random.Random, number: int) -> Payload:
    method = chance.choice(RPC_METHODS)
    count = chance.randrange(1, 5) if method == "ModelStreamInfer" else 1
    return Rpc(f"rpc {method}", method, tuple(_message(chance, number) for _ in range(count)))


def _large(chance: random.Random, number: int) -> Payload:
    body = gzip.compress(bytes(10_000_000)) if chance.random() < 0.5 else bytes(BODY_LIMIT_BYTES + 10)
    headers = {"Content-Encoding": "gzip"} if len(body) < BODY_LIMIT_BYTES else {}
    model = chance.choice((HOT, COLD)).encode()
    return Raw("large", "http", (request("POST", b"/v2/models/" + model + b"/infer", headers, body),))


Maker = Callable[[random.Random, int], Payload]
_MAKERS: Final[tuple[Maker, ...]] = (
    *(_http_call, _rpc, _http_mutated, _rpc, _chunked, _rpc, _frames, _http_call, _rpc, _truncated, _rpc, _noise),
    *(_http_call, _rpc, _headers, _http_mutated, _rpc, _demand, _frames, _rpc, _http_call, _http_mutated, _rpc, _large),
)
