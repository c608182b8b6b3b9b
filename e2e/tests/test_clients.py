"""Unmodified Triton clients against a pool's Service, and what the gateway refuses."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from e2e import models
from e2e.tests.stage import Pool, Stage, probes

SECONDS = 40.0
COUNTED_SECONDS = 5.0
FILES = probes("alpha", "beta")


def number_input(library: Any, number: int) -> Any:
    tensor = library.InferInput("INPUT0", [1], "INT32")
    tensor.set_data_from_numpy(np.array([number], dtype=np.int32))
    return tensor


def names(answer: Any) -> set[str]:
    """Return the models of a repository index, which is a list over HTTP and a message over gRPC."""
    entries = answer if isinstance(answer, list) else answer["models"]
    return {entry["name"] for entry in entries}


def sync_client(pool: Pool, protocol: str) -> Any:
    if protocol == "http":
        return tritonclient.http.InferenceServerClient(pool.http, connection_timeout=SECONDS, network_timeout=SECONDS)
    return tritonclient.grpc.InferenceServerClient(pool.grpc)


def until_counted(statistics: Callable[[], list[dict[str, Any]]]) -> None:
    """Wait until one inference is counted: Triton answers first and counts then."""
    deadline = time.monotonic() + COUNTED_SECONDS
    while (counts := [int(entry.get("inference_count", 0)) for entry in statistics()]) != [1]:
        assert counts == [0], counts
        assert time.monotonic() < deadline, "Triton did not count an inference that it answered"
        time.sleep(0.05)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_sync_client_finds_one_triton_server_with_every_model(stage: Stage, protocol: str) -> None:
    stage.pool(FILES)
    for name in ("alpha", "beta"):
        stage.model(name)
    library = getattr(tritonclient, protocol)
    json = {} if protocol == "http" else {"as_json": True}
    with stage.clients() as pool, sync_client(pool, protocol) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.get_server_metadata(**json)["name"] == "triton"
        answer = client.infer("alpha", [number_input(library, 41)])
        assert answer.as_numpy("OUTPUT0")[0] == 42
        assert answer.as_numpy("MODEL")[0] == b"alpha"
        assert client.is_model_ready("alpha")
        assert client.get_model_metadata("alpha", **json)["name"] == "alpha"
        config = client.get_model_config("alpha", **json)
        assert config.get("config", config)["backend"] == "python"
        until_counted(lambda: client.get_inference_statistics("alpha", **json)["model_stats"])
        assert names(client.get_model_repository_index(**json)) >= {"alpha", "beta"}
        assert client.infer("beta", [number_input(library, 1)]).as_numpy("MODEL")[0] == b"beta"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_an_async_client_finds_one_triton_server_with_every_model(stage: Stage, protocol: str) -> None:
    await asyncio.to_thread(stage.pool, FILES)
    for name in ("alpha", "beta"):
        await asyncio.to_thread(stage.model, name)
    library = getattr(tritonclient, protocol)
    with stage.clients() as pool:
        async with library.aio.InferenceServerClient(pool.http if protocol == "http" else pool.grpc) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            await client.get_server_metadata()
            wanted = [("alpha", 1), ("beta", 2), ("alpha", 3), ("beta", 4)]
            answers = await asyncio.gather(
                *(client.infer(name, [number_input(library, number)]) for name, number in wanted)
            )
            found = [(a.as_numpy("MODEL")[0].decode(), a.as_numpy("OUTPUT0")[0] - 1) for a in answers]
            assert found == wanted
            assert await client.is_model_ready("alpha")
            await client.get_model_metadata("alpha")
            await client.get_model_config("alpha")
            await client.get_inference_statistics("alpha")
            await client.get_model_repository_index()


@pytest.fixture
def pool(stage: Stage) -> Any:
    """The simplest pool: one model, nothing loaded."""
    stage.pool(FILES)
    stage.model("alpha")
    with stage.clients() as clients:
        yield clients


def refused(call: Callable[[], object]) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value


def test_a_model_that_nobody_declared_is_not_found_at_once_and_named(pool: Pool) -> None:
    started = time.monotonic()
    reply = pool.ask("gamma")
    assert reply.status == 404
    assert "gamma" in reply.text
    with sync_client(pool, "grpc") as client:
        error = refused(lambda: client.infer("gamma", [number_input(tritonclient.grpc, 1)]))
    assert error.status() == "StatusCode.NOT_FOUND"
    assert "gamma" in error.message()
    assert time.monotonic() - started < 3


def test_a_model_in_the_repository_that_is_not_declared_is_not_found_either(pool: Pool) -> None:
    assert pool.ask("beta").status == 404


ADMIN: dict[str, Callable[[Any], object]] = {
    "load": lambda client: client.load_model("alpha"),
    "unload": lambda client: client.unload_model("alpha"),
    "shared memory": lambda client: client.register_system_shared_memory("region", "/region", 64),
    "trace settings": lambda client: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
    "log settings": lambda client: client.update_log_settings({"log_info": True}),
}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_calls_that_administer_triton_are_refused_with_a_sentence(pool: Pool, protocol: str) -> None:
    with sync_client(pool, protocol) as client:
        for what, call in ADMIN.items():
            error = refused(lambda call=call: call(client))  # type: ignore[misc]
            assert error.status() in {"403", "StatusCode.PERMISSION_DENIED"}, what
            assert len(str(error.message()).split()) > 4, what


def test_a_cold_model_is_loaded_once_for_many_requests_at_once(stage: Stage) -> None:
    stage.pool(models.probe("slow", load_seconds=1))
    stage.model("slow")
    with stage.clients() as pool:
        replies = pool.ask_at_once("slow", 32)
    assert [reply.number for reply in replies] == list(range(1, 33))
    assert {reply.model for reply in replies} == {"slow"}
    assert len({reply.load for reply in replies}) == 1


def test_a_request_that_waits_too_long_for_a_cold_model_is_told_to_come_back(stage: Stage) -> None:
    stage.pool(models.probe("slow", load_seconds=20), gateway={"replicas": 1, "longestHold": "2s"})
    stage.model("slow")
    with stage.clients() as pool:
        started = time.monotonic()
        reply = pool.ask("slow")
        assert reply.status == 503, reply.text
        assert int(reply.headers["retry-after"]) >= 1
        assert 1.5 < time.monotonic() - started < 5
        with sync_client(pool, "grpc") as client:
            error = refused(lambda: client.infer("slow", [number_input(tritonclient.grpc, 1)], client_timeout=10))
        assert error.status() == "StatusCode.UNAVAILABLE"


def test_a_client_deadline_shorter_than_the_hold_is_kept(stage: Stage) -> None:
    stage.pool(models.probe("slow", load_seconds=20))
    stage.model("slow")
    with stage.clients() as pool, sync_client(pool, "grpc") as client:
        started = time.monotonic()
        error = refused(lambda: client.infer("slow", [number_input(tritonclient.grpc, 1)], client_timeout=2))
        assert error.status() in {"StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE"}
        assert time.monotonic() - started < 4
