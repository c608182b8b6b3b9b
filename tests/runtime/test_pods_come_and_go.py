import asyncio
import copy
from contextlib import asynccontextmanager

from larder.api import names
from tests.runtime import builders
from tests.runtime.fake_deployment import FakeDeployment
from tests.runtime.stage import FakeModel, Stage


def retiring(stage):
    return [p["metadata"]["name"] for p in stage.kube.all("pods") if names.RETIREMENT_ANNOTATION in annotations(p)]


def annotations(pod):
    return pod["metadata"].get("annotations", {})


def going(stage):
    return [p["metadata"]["name"] for p in stage.kube.all("pods") if "deletionTimestamp" in p["metadata"]]


@asynccontextmanager
async def one_pod_fewer_than_two_that_each_hold_a_model(move=None):
    """Until the event, if there is one, is set, the model of the pod that is to go does not arrive on the other."""
    async with Stage() as stage:
        await stage.pool(pods={"fixed": 2})
        await stage.model("a")
        await stage.model("b")
        first = await stage.triton("t0", a=FakeModel(), b=FakeModel(load_gate=move))
        second = await stage.triton("t1", a=FakeModel(load_gate=move), b=FakeModel())
        gateway = await stage.gateway()
        async with FakeDeployment(stage).playing() as deployment:
            await stage.start()
            await stage.kube.until(lambda k: all(_gate(k.find("pods", name)) == "True" for name in ("t0", "t1")))
            await stage.served(gateway, "a", "b")
            assert sorted(first.named("load") + second.named("load")) == ["a", "b"]
            await stage.pool(pods={"fixed": 1})
            yield stage, gateway, deployment


async def test_one_pod_fewer_moves_its_models_first_and_the_cluster_takes_the_pod_that_was_chosen():
    async with one_pod_fewer_than_two_that_each_hold_a_model() as (stage, gateway, deployment):
        await stage.kube.until(lambda _: going(stage))
        (victim,) = going(stage)
        (kept,) = {"t0", "t1"} - {victim}
        await gateway.until(lambda g: g.routable(f"uid-of-{kept}") == {"a", "b"})
        assert annotations(stage.kube.find("pods", victim))[names.DELETION_COST_ANNOTATION] == "-2147483647"
        assert deployment.replicas == 1 and deployment.lowest == 1
        assert [reason for reason, _ in stage.events("Retire")] == ["FixedByUser"]
        await stage.kube.until(lambda _: stage.events("Dismiss"))
        assert "ready elsewhere" in stage.events("Dismiss")[0][1]


async def test_a_pod_that_the_cluster_did_not_take_stays_and_is_ready_again():
    async with Stage() as stage:
        await stage.pool(pods={"fixed": 2})
        await stage.triton("t0")
        await stage.triton("t1")
        async with FakeDeployment(stage, contrary=True).playing():
            await stage.start()
            await stage.kube.until(lambda k: all(_gate(k.find("pods", name)) == "True" for name in ("t0", "t1")))
            await stage.pool(pods={"fixed": 1})
            await stage.kube.until(lambda _: going(stage))
            (kept,) = {"t0", "t1"} - set(going(stage))
            await stage.kube.until(lambda k: not retiring(stage) and _gate(k.find("pods", kept)) == "True")
            assert names.DELETION_COST_ANNOTATION not in annotations(stage.kube.find("pods", kept))


async def test_a_new_leader_goes_on_where_the_one_before_stopped():
    move = asyncio.Event()
    async with one_pod_fewer_than_two_that_each_hold_a_model(move) as (stage, _, _):
        await stage.kube.until(lambda _: retiring(stage))
        first = retiring(stage)
        await stage.stop()
        await stage.start()
        assert not going(stage)
        move.set()
        await stage.kube.until(lambda _: going(stage))
        assert going(stage) == first


async def test_a_pod_that_was_chosen_stays_when_it_is_wanted_again():
    move = asyncio.Event()
    async with one_pod_fewer_than_two_that_each_hold_a_model(move) as (stage, _, deployment):
        await stage.kube.until(lambda _: retiring(stage))
        await stage.pool(pods={"fixed": 2})
        await stage.kube.until(lambda _: not retiring(stage))
        move.set()
        await stage.kube.until(lambda _: stage.events("Keep"))
        assert deployment.replicas == 2 and not going(stage)


async def test_a_pod_that_was_chosen_stays_when_its_pool_is_only_to_be_advised():
    async with one_pod_fewer_than_two_that_each_hold_a_model(asyncio.Event()) as (stage, _, deployment):
        await stage.kube.until(lambda _: retiring(stage))
        await stage.pool(pods={"min": 1, "max": 2}, mode="Advise")
        await stage.kube.until(lambda _: not retiring(stage))
        await stage.kube.until(lambda _: stage.events("Keep"))
        assert deployment.replicas == 2 and not going(stage)


async def test_a_pool_without_pods_starts_one_for_the_first_request_and_goes_back_to_none():
    async with Stage() as stage:
        await stage.pool(pods={"min": 0, "max": 1, "scaleDownAfter": "1s"})
        await stage.model("a")
        gateway = await stage.gateway()
        async with FakeDeployment(stage, "a").playing() as deployment:
            await stage.start()
            await gateway.until(lambda g: g.followed)
            await stage.kube.until(lambda _: deployment.replicas == 0)
            await gateway.ask("a")
            await gateway.until(lambda g: "a" in g.routable("uid-of-new1"))
            await stage.kube.until(lambda _: stage.events("Scale"))
            assert stage.events("Scale")[0][0] == "ColdRequest"
            await gateway.ask("a", 0)
            await stage.kube.until(lambda _: going(stage) == ["new1"])
            assert deployment.replicas == 0


async def test_no_pod_goes_for_idleness_while_a_gateway_does_not_tell_what_it_is_asked():
    async with Stage() as stage:
        await stage.pool(pods={"min": 1, "max": 1, "scaleDownAfter": "50ms"})
        await stage.triton("t0")
        async with FakeDeployment(stage).playing() as deployment:
            await stage.start()
            await stage.kube.until(lambda k: _gate(k.find("pods", "t0")) == "True")
            await stage.pool(pods={"min": 0, "max": 1, "scaleDownAfter": "50ms"})
            await asyncio.sleep(0.3)
            assert deployment.replicas == 1 and not retiring(stage)


async def test_a_leaking_pod_is_replaced_by_one_more_that_takes_its_models():
    async with Stage() as stage:
        stuck = asyncio.Event()
        await stage.pool(loading={"unloadTimeout": "50ms"})
        await stage.model("gone", copies={"min": 1})
        await stage.model("a", copies={"min": 1})
        await stage.triton("t0", gone=FakeModel(unload_gate=stuck), a=FakeModel())
        async with FakeDeployment(stage, "a").playing() as deployment:
            await stage.start()
            await stage.routable("t0", "gone", "a")
            await stage.kube.remove("models", "gone")
            await stage.kube.until(lambda _: going(stage) == ["t0"])
            await stage.routable("new1", "a")
            assert (deployment.replicas, deployment.made) == (1, 1)
            assert [reason for reason, _ in stage.events("Scale")][:1] == ["Recycle"]


async def test_a_new_pod_of_a_rollout_is_ready_only_with_what_is_worth_most():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool(pods={"max": 1})
        await stage.model("a")
        await stage.triton("t0", a=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await stage.kube.edit("pods", "t0", lambda p: p["metadata"]["labels"].update({names.TEMPLATE_LABEL: "old"}))
        await gateway.ask("a")
        await stage.routable("t0", "a")
        await gateway.ask("a", 0)
        new = await stage.triton("t1", a=FakeModel(load_gate=gate))

        def change(pod):
            pod["metadata"]["labels"][names.TEMPLATE_LABEL] = "new"
            pod["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"

        await stage.kube.edit("pods", "t1", change)
        await new.until(lambda t: t.named("load") == ["a"])
        assert _gate(stage.kube.find("pods", "t1")) != "True"
        gate.set()
        await stage.routable("t1", "a")
        await stage.kube.until(lambda k: _gate(k.find("pods", "t1")) == "True")


def _gate(pod):
    found = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
    return found.get(names.SERVING_GATE)


async def test_in_mode_advise_the_users_number_holds_and_no_other_is_set():
    async with Stage() as stage:
        await stage.pool(mode="Advise", pods={"min": 2, "max": 3})
        await stage.start()
        await stage.kube.until(lambda k: k.find("deployments", "pool-triton"))
        manifest = copy.deepcopy(builders.pool_manifest(mode="Advise", pods={"fixed": 1}))
        await stage.pool(**manifest["spec"])
        await stage.kube.until(lambda k: k.find("deployments", "pool-triton")["spec"]["replicas"] == 1)


async def test_the_start_of_a_pod_is_measured_when_it_was_seen_and_said_in_the_status():
    async with Stage() as stage:
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda _: stage.status("pool", "modelpools"))
        assert "podStartSeconds" not in stage.status("pool", "modelpools")
        await stage.triton("t0", created="2100-01-01T00:00:00Z")
        await stage.kube.until(lambda _: "podStartSeconds" in stage.status("pool", "modelpools"))
        await stage.triton("t1")
        await stage.kube.until(lambda k: _gate(k.find("pods", "t1")) == "True")
        (running,) = stage.operator._running.values()
        assert running.runner.state.books.start_seconds.samples == 1


async def test_a_pool_that_sleeps_is_ready_and_says_that_the_first_request_waits():
    async with Stage() as stage:
        await stage.pool(pods={"min": 0, "max": 1})
        await stage.gateway()
        await stage.start()
        await stage.kube.until(lambda _: (stage.condition("pool", "Ready", "modelpools") or " ")[0] == "True")
        assert stage.condition("pool", "Ready", "modelpools")[2] == "the first request waits for a pod to start"
        assert stage.condition("pool", "Autoscaling", "modelpools")[1] == "NoPods"
