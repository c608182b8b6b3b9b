"""Which call a request is, and what of a message is read, for every input."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from larder.errors import InvalidInputError
from larder.gateway.protocol import (
    ModelCall,
    Operation,
    PoolCall,
    PoolOperation,
    Refused,
    Unknown,
    WrongMethod,
    grpc_timeout_seconds,
    http_timeout_seconds,
    parse_grpc,
    parse_http,
)

NAMES = st.text(st.characters(codec="utf-8"), max_size=300)


@pytest.mark.parametrize(
    ("method", "target", "call"),
    [
        ("POST", "/v2/models/m/infer", ModelCall("m", Operation.INFER)),
        ("POST", "/v2/models/m/versions/3/infer?x=1", ModelCall("m", Operation.INFER, "3")),
        ("POST", "/v2/models/m/generate_stream", ModelCall("m", Operation.GENERATE_STREAM)),
        ("GET", "/v2/models/m", ModelCall("m", Operation.METADATA)),
        ("GET", "/v2/models/m/versions/1", ModelCall("m", Operation.METADATA, "1")),
        ("GET", "/v2/models/a%20b%2Fc/ready", ModelCall("a b/c", Operation.READY)),
        ("GET", "/v2/models/stats/stats", ModelCall("stats", Operation.STATISTICS)),
        ("GET", "/v2/models/stats", PoolCall(PoolOperation.STATISTICS)),
        ("GET", "/v2/health/live", PoolCall(PoolOperation.LIVE)),
        ("POST", "/v2/repository/index", PoolCall(PoolOperation.INDEX)),
        ("GET", "/v2/repository/index", WrongMethod("POST")),
        ("GET", "/v2/models/m/infer", WrongMethod("POST")),
        ("GET", "/v2/models/m/versions/x/infer", Unknown()),
        ("GET", "/v2/models/", Unknown()),
        ("GET", "/metrics", Unknown()),
    ],
)
def test_a_request_line_says_which_call_it_is(method, target, call):
    assert parse_http(method, target) == call


@pytest.mark.parametrize(
    "target",
    [
        "/v2/repository/models/m/load",
        "/v2/repository/r/models/m/unload",
        "/v2/logging",
        "/v2/trace/setting",
        "/v2/models/m/trace/setting",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/region/r/register",
    ],
)
def test_administrative_paths_are_refused_with_any_method(target):
    for method in ("GET", "POST", "PUT"):
        assert isinstance(parse_http(method, target), Refused)


@given(st.text(max_size=8), st.text(max_size=60))
def test_any_request_line_is_some_call(method, target):
    parse_http(method, target)
    parse_http("POST", "/v2/models/" + target)


@given(
    names=st.tuples(NAMES, NAMES),
    tensors=st.lists(st.binary(max_size=50)),
    timeout=st.none() | st.integers(1, 2**40),
    unknown=st.binary(max_size=30),
    first=st.booleans(),
)
def test_the_model_and_the_timeout_of_any_inference_message_are_found(names, tensors, timeout, unknown, first):
    name, version = names
    message = service_pb2.ModelInferRequest(model_name=name, model_version=version, raw_input_contents=tensors)
    message.parameters["other"].string_param = "timeout"
    if timeout is not None:
        message.parameters["timeout"].int64_param = timeout
    extra = b"\xfa\x7f" + bytes([len(unknown)]) + unknown
    wire = message.SerializeToString()
    wire = extra + wire if first else wire + extra
    assert parse_grpc("ModelInfer", wire) == ModelCall(name, Operation.INFER, version)
    assert grpc_timeout_seconds(wire) == (None if timeout is None else timeout / 1e6)


@given(one=NAMES, other=NAMES)
def test_of_two_names_in_a_message_the_last_counts_as_in_protobuf(one, other):
    parts = [service_pb2.ModelReadyRequest(name=name).SerializeToString() for name in (one, other)]
    merged = service_pb2.ModelReadyRequest.FromString(b"".join(parts))
    assert parse_grpc("ModelReady", b"".join(parts)) == ModelCall(merged.name, Operation.READY)


@given(st.binary(max_size=200))
def test_a_message_of_any_bytes_is_read_or_refused(wire):
    for read in (lambda: parse_grpc("ModelInfer", wire), lambda: grpc_timeout_seconds(wire)):
        try:
            read()
        except InvalidInputError:
            continue


@given(st.binary(max_size=200))
def test_what_protobuf_can_read_is_not_refused(wire):
    try:
        message = service_pb2.ModelInferRequest.FromString(wire)
    except Exception:
        return
    if b"\x0b" in wire or b"\x0c" in wire or any(byte & 7 in (3, 4) for byte in wire):
        return  # groups, which nobody sends, are refused
    assert parse_grpc("ModelInfer", wire).model == message.model_name


@given(st.binary(max_size=200), st.none() | st.integers(0, 300))
def test_a_body_of_any_bytes_has_a_timeout_or_none_or_is_refused(body, length):
    try:
        assert (http_timeout_seconds(body, length) or 1) > 0
    except InvalidInputError:
        return


@pytest.mark.parametrize(
    ("parameters", "seconds"),
    [({"timeout": 1500000}, 1.5), ({}, None), ({"timeout": -1}, None), ({"timeout": "x"}, None)],
)
def test_the_timeout_of_a_json_request_is_microseconds(parameters, seconds):
    header = json.dumps({"inputs": [], "parameters": parameters}).encode()
    assert http_timeout_seconds(header + b"\xff\x00binary", len(header)) == seconds
    assert http_timeout_seconds(header, None) == seconds


def test_statistics_without_a_name_are_of_the_whole_pool():
    assert parse_grpc("ModelStatistics", b"") == PoolCall(PoolOperation.STATISTICS)
    assert parse_grpc("Nothing", b"") == Unknown()
    assert isinstance(parse_grpc("CudaSharedMemoryUnregister", b"\xff"), Refused)
