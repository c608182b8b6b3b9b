import asyncio
from contextlib import asynccontextmanager

import pytest

from larder.adapters.kube.client import MERGE_PATCH
from larder.adapters.kube.informer import Informer, Scope
from larder.adapters.kube.resources import DEPLOYMENTS, PODS, resource_of
from larder.errors import InvalidInputError, KubernetesError, UnavailableError
from tests.adapters.fake_kube import FakeKube


def pod(name, **labels):
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "tests", "labels": labels}, "spec": {}}


@asynccontextmanager
async def served():
    async with FakeKube() as kube:
        client = kube.client()
        try:
            yield kube, client
        finally:
            await client.close()


class Followed:
    """What an informer told, and a way to wait for more."""

    def __init__(self, client, scope):
        self.told = []
        self.more = asyncio.Event()
        self.informer = Informer(client, scope, lambda m: m["metadata"]["resourceVersion"], self._tell, lambda: 0.0)

    def _tell(self, key, item):
        self.told.append((key[1], item is not None))
        self.more.set()

    async def until(self, count):
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self.more.clear()
                await self.more.wait()

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.informer.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_what_is_there_is_listed_in_pages_and_what_comes_is_watched():
    async with served() as (kube, client):
        kube.page_size = 2
        for number in range(5):
            await kube.put(pod(f"p{number}"))
        async with Followed(client, Scope(PODS)).running() as followed:
            await followed.until(5)
            await kube.put(pod("p5"))
            await kube.remove("pods", "p0")
            await followed.until(7)
            assert followed.told[5:] == [("p5", True), ("p0", False)]
            assert ("tests", "p0") not in followed.informer.items


async def test_only_what_the_labels_select_is_followed():
    async with served() as (kube, client):
        await kube.put(pod("in", c="triton"))
        await kube.put(pod("out", c="other"))
        async with Followed(client, Scope(PODS, labels="c in (triton,gateway)")).running() as followed:
            await kube.put(pod("also-out", c="other"))
            await kube.put(pod("late", c="gateway"))
            await followed.until(2)
            assert [name for name, _ in followed.told] == ["in", "late"]


async def test_a_watch_that_broke_off_goes_on_where_it_was():
    async with served() as (kube, client):
        await kube.put(pod("a"))
        async with Followed(client, Scope(PODS)).running() as followed:
            await kube.until(lambda k: k.watches == 1)
            await kube.end_watches()
            await kube.put(pod("b"))
            await followed.until(2)
            assert kube.watches == 2
            assert len(kube.requests) == 3, "one list, and two watches"


async def test_what_was_deleted_while_nobody_watched_is_noticed_by_listing_again():
    async with served() as (kube, client):
        await kube.put(pod("a"))
        await kube.put(pod("b"))
        async with Followed(client, Scope(PODS)).running() as followed:
            await kube.until(lambda k: k.watches == 1)
            await kube.remove("pods", "a")
            await kube.forget()
            await followed.until(3)
            assert followed.told[-1] == ("a", False)


async def test_while_the_api_server_refuses_what_was_known_stays():
    async with served() as (kube, client):
        await kube.put(pod("a"))
        async with Followed(client, Scope(PODS)).running() as followed:
            await kube.until(lambda k: k.watches == 1)
            kube.refuse("GET", "pods", 500)
            await kube.end_watches()
            assert followed.informer.items
            await kube.put(pod("b"))
            kube.refusals.clear()
            await followed.until(2)
            assert followed.told == [("a", True), ("b", True)]


async def test_a_patch_meant_for_another_version_is_refused():
    async with served() as (kube, client):
        stored = await kube.put(pod("a"))
        stale = {"metadata": {"resourceVersion": "1", "annotations": {"x": "y"}}}
        with pytest.raises(KubernetesError) as caught:
            await client.patch(PODS, ("tests", "a"), stale, MERGE_PATCH)
        assert caught.value.status == 409
        fresh = {"metadata": {"resourceVersion": stored["metadata"]["resourceVersion"], "annotations": {"x": "y"}}}
        await client.patch(PODS, ("tests", "a"), fresh, MERGE_PATCH)
        assert kube.find("pods", "a")["metadata"]["annotations"] == {"x": "y"}


async def test_applying_creates_and_then_changes():
    async with served() as (_, client):
        manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "tests"},
            "spec": {"replicas": 1},
        }
        await client.apply(manifest)
        await client.apply({**manifest, "spec": {"replicas": 2}})
        assert (await client.get(DEPLOYMENTS, "tests", "d"))["spec"]["replicas"] == 2


async def test_a_refusal_carries_the_servers_own_words():
    async with served() as (kube, client):
        kube.refuse("GET", "pods/a", 403, "Forbidden", "pods is forbidden: you may not")
        with pytest.raises(KubernetesError, match="you may not") as caught:
            await client.get(PODS, "tests", "a")
        assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


async def test_a_server_that_is_away_is_unavailable():
    async with served() as (kube, client):
        await kube._runner.cleanup()
        with pytest.raises(UnavailableError):
            await client.get(PODS, "tests", "a")


def test_a_kind_that_is_not_ours_is_refused_by_name():
    with pytest.raises(InvalidInputError, match="v1/Node"):
        resource_of({"apiVersion": "v1", "kind": "Node"})


class Abrupt:
    """An API server that takes every watch and ends it at once."""

    def __init__(self):
        self.watches = 0

    async def pages(self, resource, namespace, selectors):
        yield [], "1"

    @asynccontextmanager
    async def watch(self, resource, namespace, selectors, version):
        self.watches += 1
        yield _nothing()


async def _nothing():
    for event in ():
        yield event


async def test_a_server_that_ends_every_watch_at_once_is_asked_at_growing_pauses():
    source = Abrupt()
    async with Followed(source, Scope(PODS)).running():
        await asyncio.sleep(0.35)
    assert 1 <= source.watches <= 3
