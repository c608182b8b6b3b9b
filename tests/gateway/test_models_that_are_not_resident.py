"""Who asks about a model that is resident nowhere hears what was last seen of it; what was never seen is loaded."""

import asyncio

import pytest
from tritonclient.grpc import service_pb2

from larder.api.demand import Hint, Seen, Waiting
from larder.gateway import last_seen
from larder.gateway.last_seen import Shelf
from larder.gateway.protocol import Operation
from tests.gateway.builders import Gateway, model, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"
TAILS = ("", "/config", "/stats", "/versions/1", "/versions/1/ready")


async def until_seen(gateway, name):
    async with asyncio.timeout(20):
        while not gateway.activator.last_seen.of(name):  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(0.01)


async def get(gateway, path):
    async with gateway.session.get(f"http://{gateway.http}/v2/models/{path}") as answer:
        return answer.status, await answer.read()


async def test_questions_about_a_model_that_left_are_answered_as_its_pod_answered_them(monkeypatch):
    monkeypatch.setattr(last_seen, "LOOK_SECONDS", 0.05)
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake, gateway.operator() as operator:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        hot = [await get(gateway, f"m{tail}") for tail in TAILS]
        asked = service_pb2.ModelConfigRequest(name="m").SerializeToString()
        hot_config = await gateway.call("ModelConfig", asked)
        await until_seen(gateway, "m")
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2)))
        await operator.until(Seen, lambda message: message.pods.get("uid-of-p") == (1, 2))
        fake.loaded.clear()
        async with asyncio.timeout(5):
            assert [(await get(gateway, f"m{tail}"))[0] for tail in TAILS] == [200] * len(TAILS)
            assert [await get(gateway, f"m{tail}") for tail in TAILS[:4]] == hot[:4]
            assert await gateway.call("ModelConfig", asked) == hot_config
        assert not any(message.models for message in operator.all if isinstance(message, Waiting))


@pytest.mark.parametrize("why", ["never seen", "another revision", "another version"])
async def test_what_was_not_seen_is_loaded_to_tell(why, monkeypatch):
    monkeypatch.setattr(last_seen, "LOOK_SECONDS", 0.05)
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake, gateway.operator() as operator:
        await gateway.declare("m")
        if why != "never seen":
            await gateway.publish(fake, residency(CONTAINER, 1, "m"))
            await until_seen(gateway, "m")
        if why == "another revision":
            await gateway.kube.put(model("m", revision="2"))
            async with asyncio.timeout(20):
                while gateway.activator.last_seen.of("m"):  # noqa: ASYNC110 (nobody is told)
                    await asyncio.sleep(0.01)
        await gateway.publish(fake, residency(CONTAINER, 2))
        asked = asyncio.create_task(get(gateway, "m/versions/7" if why == "another version" else "m"))
        await operator.until(Waiting, lambda message: "m" in message.models)
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 3, "m")))
        assert (await asked)[0] == (404 if why == "another version" else 200)


async def test_the_index_tells_the_versions_that_were_seen(monkeypatch):
    monkeypatch.setattr(last_seen, "LOOK_SECONDS", 0.05)
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m", "n")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        await until_seen(gateway, "m")
        async with gateway.session.post(f"http://{gateway.http}/v2/repository/index") as answer:
            found = await answer.json()
    assert found[0] == {"name": "m", "version": "1", "state": "READY"}
    assert (found[1]["name"], found[1]["state"]) == ("n", "UNAVAILABLE")


def test_what_was_seen_is_kept_within_its_bound_and_the_oldest_goes_first():
    shelf = Shelf(most_bytes=100)
    for name in ("a", "b", "c"):
        shelf.put(name, last_seen.Seen("", ("1",), {Operation.METADATA: bytes(40)}, {}))
    assert shelf.models() == ["b", "c"]
    assert shelf.bytes == 80
    shelf.put("b", last_seen.Seen("", ("1",), {Operation.METADATA: bytes(10)}, {}))
    assert shelf.bytes == 50
