"""Connections end in time without a request noticing, and an Envoy without memory refuses instead of dying."""

import asyncio

import grpc
import pytest
from tritonclient.grpc import service_pb2

from larder.gateway import envoy
from tests.gateway.builders import MIB, Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"
MESSAGE = service_pb2.ModelInferRequest(model_name="m", id="1").SerializeToString()


@pytest.fixture
def short_lived(monkeypatch):
    monkeypatch.setattr(envoy, "CONNECTION_AGE", "0.2s")


async def test_http_connections_are_told_to_close_and_every_request_is_answered(short_lived):
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        closed = 0
        async with asyncio.timeout(20):
            while closed < 3:
                status, _, headers = await gateway.infer("m")
                assert status == 200
                closed += headers.get("Connection") == "close"


async def test_grpc_calls_go_on_while_their_connections_are_replaced(short_lived):
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        async with grpc.aio.insecure_channel(gateway.grpc) as channel, asyncio.timeout(20):
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
            while await connection_count(gateway) < 4:
                await asyncio.gather(*(call(MESSAGE) for _ in range(8)))


async def test_an_idle_connection_to_a_pod_ends_because_triton_waits_for_it_at_its_own_end(monkeypatch):
    monkeypatch.setattr(envoy, "POD_IDLE_SECONDS", 0.2)
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        assert (await gateway.infer("m"))[0] == 200
        async with asyncio.timeout(20):
            while not await idle_ends(gateway):
                pass
        assert (await gateway.infer("m"))[0] == 200


async def idle_ends(gateway):
    """Return how many connections to pods ended for being idle."""
    async with gateway.session.get(gateway.metrics) as page:
        lines = (await page.text()).splitlines()
    name = "envoy_cluster_upstream_cx_idle_timeout{"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and "triton_http" in line)


async def connection_count(gateway):
    async with gateway.session.get(gateway.metrics) as page:
        lines = (await page.text()).splitlines()
    name = 'envoy_http_downstream_cx_total{envoy_http_conn_manager_prefix="grpc"}'
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


async def test_an_envoy_without_memory_refuses_with_a_sentence_and_lives():
    async with Gateway(envoy_memory_bytes=4 * MIB) as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        async with asyncio.timeout(20):
            while (found := await gateway.infer("m"))[0] == 200:
                pass
        assert found[0] == 503
        assert "memory" in found[1]["error"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await gateway.infer_grpc("m")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "memory" in refused.value.details()
        assert gateway.envoy.returncode is None
