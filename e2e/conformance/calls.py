"""The calls of the V2 protocol, on models `alpha` (a probe), `echo` (text to text) and `words` (text to its words)."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2 as pb

from e2e.conformance.asking import Call, GrpcCall, HttpCall, StreamCall, inference, raw, text_inference

ASKS_FOR_THE_END: Final = {"triton_enable_empty_final_response": pb.InferParameter(bool_param=True)}
JSON: Final = {"Content-Type": "application/json"}


def tensor(shape: tuple[int, ...] = (1,), datatype: str = "INT32", name: str = "INPUT0", **more: Any) -> dict[str, Any]:
    """Return a tensor of a JSON request."""
    return {"name": name, "shape": list(shape), "datatype": datatype, **more}


def body(*inputs: dict[str, Any], **more: Any) -> bytes:
    """Return the JSON of an inference."""
    return json.dumps({"inputs": list(inputs), "outputs": [{"name": "OUTPUT0"}], **more}).encode()


ONE: Final = body(tensor(data=[41]), id="7")


def binary(answer: bool) -> HttpCall:
    """Binary tensor data in the request, and perhaps in the answer."""
    outputs = [{"name": "OUTPUT0", "parameters": {"binary_data": answer}}]
    head = json.dumps({"inputs": [tensor(parameters={"binary_data_size": 4})], "outputs": outputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return HttpCall(f"binary data, answer {answer}", "POST", "/v2/models/alpha/infer", head + raw(41), headers)


def http() -> Iterator[Call]:
    """Everything that the pool answers as a plain Triton does, over HTTP."""
    for path in ("/v2/health/live", "/v2/health/ready"):
        yield HttpCall(path, "GET", path)
    for model in ("alpha", "alpha/versions/1", "alpha/versions/7", "echo", "words"):
        for tail in ("", "/ready", "/config", "/stats"):
            yield HttpCall(f"{model}{tail}", "GET", f"/v2/models/{model}{tail}")
    infer = "/v2/models/alpha/infer"
    yield HttpCall("infer", "POST", infer, ONE)
    yield HttpCall("infer a version", "POST", "/v2/models/alpha/versions/1/infer", ONE)
    yield HttpCall("infer an absent version", "POST", "/v2/models/alpha/versions/7/infer", ONE)
    yield binary(answer=False)
    yield binary(answer=True)
    yield HttpCall("gzip request", "POST", infer, gzip.compress(ONE), {"Content-Encoding": "gzip"})
    yield HttpCall("deflate request", "POST", infer, zlib.compress(ONE), {"Content-Encoding": "deflate"})
    for encoding in ("gzip", "deflate"):
        yield HttpCall(f"{encoding} answer", "POST", infer, ONE, {"Accept-Encoding": encoding})
    wrong = {
        "bad shape": body(tensor((2,), data=[1])),
        "wrong rank": body(tensor((1, 1), data=[1])),
        "wrong type": body(tensor(datatype="FP32", data=[1.0])),
        "no input": body(),
        "unknown input": body(tensor(name="NOBODY", data=[1])),
        "unknown output": json.dumps({"inputs": [tensor(data=[1])], "outputs": [{"name": "NO"}]}).encode(),
        "inputs are no list": b'{"inputs": 1}',
        "no object": b"[]",
    }
    for name, text in wrong.items():
        yield HttpCall(name, "POST", infer, text)


def generating() -> Iterator[Call]:
    """generate and generate_stream."""
    for model in ("echo", "echo/versions/1", "words"):
        for tail in ("generate", "generate_stream"):
            yield HttpCall(f"{model} {tail}", "POST", f"/v2/models/{model}/{tail}", b'{"text_input": "a b c"}', JSON)
    yield HttpCall("generate without input", "POST", "/v2/models/echo/generate", b"{}", JSON)
    yield HttpCall("generate_stream without input", "POST", "/v2/models/echo/generate_stream", b"{}", JSON)


def rpc() -> Iterator[Call]:
    """The same over gRPC."""
    yield GrpcCall("live", "ServerLive", pb.ServerLiveRequest())
    yield GrpcCall("ready", "ServerReady", pb.ServerReadyRequest())
    for version in ("", "1", "7"):
        named = {"name": "alpha", "version": version}
        yield GrpcCall(f"model ready {version}", "ModelReady", pb.ModelReadyRequest(**named))
        yield GrpcCall(f"model metadata {version}", "ModelMetadata", pb.ModelMetadataRequest(**named))
        yield GrpcCall(f"model config {version}", "ModelConfig", pb.ModelConfigRequest(**named))
        yield GrpcCall(f"model statistics {version}", "ModelStatistics", pb.ModelStatisticsRequest(**named))
        yield GrpcCall(f"infer {version}", "ModelInfer", inference("alpha", 41, id="7", model_version=version))
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        yield GrpcCall(f"infer {compression.name}", "ModelInfer", inference("alpha", 41), compression)
    shape, kind = inference("alpha"), inference("alpha")
    shape.inputs[0].shape[:] = [2]
    kind.inputs[0].datatype = "FP32"
    yield GrpcCall("bad shape", "ModelInfer", shape)
    yield GrpcCall("wrong type", "ModelInfer", kind)
    yield GrpcCall("no input", "ModelInfer", pb.ModelInferRequest(model_name="alpha"))
    yield GrpcCall("a decoupled model", "ModelInfer", text_inference("words", "a b"))
    yield StreamCall("stream", tuple(inference("alpha", number, id=str(number)) for number in range(3)))
    yield StreamCall("stream of two", (text_inference("echo", "x", id="1"), inference("alpha", 1, id="2")))
    yield StreamCall("decoupled", (text_inference("words", "a b c", id="1"),))
    yield StreamCall("decoupled end", (text_inference("words", "a b", parameters=ASKS_FOR_THE_END),))
    yield StreamCall("decoupled nothing", (text_inference("words", "", parameters=ASKS_FOR_THE_END),))
    yield StreamCall("stream wrong", (shape, kind, inference("alpha", 1, model_version="7"), inference("alpha", 2)))
    yield StreamCall("empty stream", ())


def of_the_pool() -> Iterator[Call]:
    """What a pool answers by itself, in Triton's form."""
    yield HttpCall("server metadata", "GET", "/v2")
    yield GrpcCall("server metadata", "ServerMetadata", pb.ServerMetadataRequest())
    for text in (b"", b"{}", b'{"ready": true}'):
        yield HttpCall(f"index {text.decode()}", "POST", "/v2/repository/index", text)
    yield GrpcCall("index", "RepositoryIndex", pb.RepositoryIndexRequest())
    yield HttpCall("all statistics", "GET", "/v2/models/stats")
    yield GrpcCall("all statistics", "ModelStatistics", pb.ModelStatisticsRequest())
    for tail in ("", "/ready", "/config", "/stats", "/versions/1", "/versions/1/ready"):
        yield HttpCall(f"nobody{tail}", "GET", f"/v2/models/nobody{tail}")
    for tail in ("infer", "generate", "generate_stream", "versions/1/infer"):
        yield HttpCall(f"nobody {tail}", "POST", f"/v2/models/nobody/{tail}", ONE)
    for method, request in (
        ("ModelReady", pb.ModelReadyRequest(name="nobody")),
        ("ModelMetadata", pb.ModelMetadataRequest(name="nobody")),
        ("ModelConfig", pb.ModelConfigRequest(name="nobody")),
        ("ModelStatistics", pb.ModelStatisticsRequest(name="nobody")),
        ("ModelInfer", inference("nobody")),
    ):
        yield GrpcCall(f"nobody {method}", method, request)
    yield StreamCall("nobody in a stream", (inference("nobody", id="1"), inference("alpha", id="2")))
    yield HttpCall("malformed", "POST", "/v2/models/alpha/infer", b'{"inputs": [')
    yield HttpCall("no body", "POST", "/v2/models/echo/infer")
    for path in ("/", "/v2/", "/v2/nothing", "/v2/models/alpha/nothing"):
        yield HttpCall(f"unknown path {path}", "GET", path)
    yield HttpCall("wrong method", "GET", "/v2/models/alpha/infer")
    yield HttpCall("wrong method of metadata", "POST", "/v2/models/alpha")
    yield HttpCall("wrong method of health", "POST", "/v2/health/live")
