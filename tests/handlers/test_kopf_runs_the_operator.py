from types import SimpleNamespace

import aiohttp
import kopf
import pytest
from kopf._core.intents.registries import get_default_registry

from larder import handlers
from larder.errors import InvalidInputError
from larder.handlers import modelpools, process
from larder.handlers.probes import Probes
from larder.runtime import settings
from tests.runtime import builders

ENVIRONMENT = {
    "LARDER_TRITON_IMAGE": "triton:1",
    "LARDER_ENVOY_IMAGE": "envoy:1",
    "LARDER_IMAGE": "larder:1",
    "LARDER_NAMESPACE": "larder-system",
    "POD_NAME": "operator-0",
}


class Told:
    def __init__(self):
        self.said = []

    def put_pool(self, manifest):
        self.said.append(("put", manifest["metadata"]["name"]))

    def remove_pool(self, key):
        self.said.append(("remove", key))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (None, ("put", "pool")),
        ("ADDED", ("put", "pool")),
        ("MODIFIED", ("put", "pool")),
        ("DELETED", ("remove", ("tests", "pool"))),
    ],
)
async def test_every_event_of_a_pool_reaches_the_operator(kind, said):
    told = Told()
    memo = SimpleNamespace(process=SimpleNamespace(operator=told))
    await modelpools.pool_changed(event={"type": kind, "object": builders.pool_manifest()}, memo=memo)
    assert told.said == [said]


def test_kopf_has_no_handler_for_which_it_would_write_on_objects():
    assert handlers.modelpools
    registry = get_default_registry()
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    assert not registry._indexing.get_all_handlers()
    assert registry._watching.get_all_handlers()


def test_kopf_posts_no_events_and_never_gives_up_on_the_api_server():
    configured = kopf.OperatorSettings()
    process.configure(configured)
    assert not configured.posting.enabled
    pauses = iter(configured.networking.error_backoffs)
    assert [next(pauses) for _ in range(100)][-1] == 5.0


async def test_a_replica_is_ready_once_all_lists_are_read():
    subject = SimpleNamespace(synced=False)
    probes = Probes(subject)
    await probes.start(0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{probes.port}") as session:
            assert (await session.get("/healthz")).status == 200
            assert (await session.get("/readyz")).status == 503
            subject.synced = True
            assert (await session.get("/readyz")).status == 200
    finally:
        await probes.stop()


def test_the_environment_is_read_once_with_its_defaults():
    told = settings.read({**ENVIRONMENT, "LARDER_WATCH_NAMESPACES": "a, b,"})
    assert told.namespaces == ("a", "b") and told.identity == "operator-0"
    assert told.platform.triton_user == 1000 and told.probe_port == 8080
    assert settings.read({**ENVIRONMENT, "LARDER_TRITON_USER": "image"}).platform.triton_user is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("LARDER_IMAGE", ""), ("LARDER_NAMESPACE", ""), ("LARDER_TRITON_USER", "root"), ("LARDER_PROBE_PORT", "x")],
)
def test_a_wrong_environment_is_refused_by_the_variables_name(name, value):
    with pytest.raises(InvalidInputError, match=name):
        settings.read({**ENVIRONMENT, name: value})


def test_no_prometheus_is_read_unless_one_is_told():
    assert settings.read(ENVIRONMENT).prometheus is None
    told = {"LARDER_PROMETHEUS_URL": "http://prometheus:9090/", "LARDER_PROMETHEUS_TOKEN": "secret"}
    source = settings.read({**ENVIRONMENT, **told}).prometheus
    assert (source.url, source.token) == ("http://prometheus:9090", "secret")


@pytest.mark.parametrize("url", ["prometheus:9090", "http://", "ftp://prometheus"])
def test_an_address_that_is_none_is_refused_by_its_name(url):
    with pytest.raises(InvalidInputError, match="LARDER_PROMETHEUS_URL"):
        settings.read({**ENVIRONMENT, "LARDER_PROMETHEUS_URL": url})
