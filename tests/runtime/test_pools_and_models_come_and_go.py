import asyncio

import pytest

from tests.runtime import builders
from tests.runtime.stage import FakeModel, Stage


async def test_a_pools_objects_are_made_and_made_again_when_they_vanish():
    async with Stage() as stage:
        await stage.start()
        await stage.pool()
        await stage.kube.until(lambda k: k.find("deployments", "pool-gateway"))
        assert stage.kube.find("deployments", "pool-triton")["spec"]["replicas"] == 1
        assert stage.kube.find("secrets", "pool-keys")
        await stage.kube.until(lambda k: ("tests", "pool") in stage.operator._catalog.shelves)
        await stage.kube.remove("deployments", "pool-triton")
        await stage.kube.until(lambda k: k.find("deployments", "pool-triton"))


async def test_keys_are_made_once_and_kept():
    async with Stage() as stage:
        await stage.kube.remove("secrets", "pool-keys")
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda k: k.find("deployments", "pool-gateway"))
        assert stage.kube.find("secrets", "pool-keys")["stringData"]["admin-key"] == "made"


async def test_a_deleted_model_is_drained_and_unloaded():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await stage.routable("t0", "a")
        await stage.kube.remove("models", "a")
        await triton.until(lambda t: t.named("unload") == ["a"])
        await stage.routable("t0")
        assert gateway.routable("uid-of-t0") == frozenset()


async def test_no_object_of_ours_ever_carries_a_finalizer():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        await stage.triton(a=FakeModel())
        await stage.start()
        await stage.phase("a", "Ready")
        assert not [m for _, _, _, m in stage.kube.history if m["metadata"].get("finalizers")]


async def test_the_loop_of_a_deleted_pool_ends():
    async with Stage() as stage:
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda k: k.find("deployments", "pool-gateway"))
        await stage.kube.remove("modelpools", "pool")
        stage.operator.remove_pool(("tests", "pool"))
        await stage.kube.remove("deployments", "pool-gateway")
        await stage.model("a")
        await stage.phase("a", "Pending")
        assert stage.kube.find("deployments", "pool-gateway") is None


async def test_a_model_of_an_unknown_pool_says_so_and_heals_when_the_pool_appears():
    async with Stage() as stage:
        await stage.model("a")
        await stage.start()
        await stage.phase("a", "Pending")
        assert stage.condition("a", "PoolFound") == (
            "False",
            "PoolNotFound",
            "there is no ModelPool pool in namespace tests",
        )
        await stage.kube.until(lambda _: stage.events("Accept", "a"))
        await stage.pool()
        await stage.phase("a", "Cold")
        assert stage.condition("a", "PoolFound")[0] == "True"


async def test_that_a_pool_is_missing_is_said_once_by_all_leaders_and_not_remembered_of_models_that_went():
    async with Stage() as stage:
        await stage.model("a")
        await stage.start()
        await stage.kube.until(lambda _: stage.events("Accept", "a") and stage.condition("a", "PoolFound"))
        await stage.stop()
        await stage.start()
        await stage.model("b")
        await stage.kube.until(lambda _: stage.events("Accept", "b"))
        assert len(stage.events("Accept", "a")) == 1
        await stage.kube.remove("models", "a")
        await stage.kube.edit("models", "b", lambda m: m["spec"].update(priority=2))
        await stage.kube.until(lambda _: stage.status("b").get("observedGeneration") == 2)
        assert {uid for uid, _ in stage.operator._oddities._told} == {"uid-of-b"}


async def test_in_a_namespace_that_ends_a_pool_asks_for_nothing_more(caplog):
    async with Stage() as stage:
        text = (
            "pool-triton is forbidden: unable to create new content in namespace tests because it is being terminated"
        )
        stage.kube.refuse("PATCH", "/serviceaccounts/", 403, "Forbidden", text)
        await stage.pool()
        await stage.start()
        await stage.kube.until(
            lambda _: "terminated" in (stage.condition("pool", "PodsHealthy", "modelpools") or "   ")[2]
        )
        patched = [path for method, path in stage.kube.requests if method == "PATCH" and "/status" not in path]
        assert patched and all("/serviceaccounts/pool-triton" in path for path in patched)
        assert "terminated" not in caplog.text


async def test_of_two_models_with_one_name_the_older_serves_and_the_newer_heals_when_it_goes():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("new", created="2026-02-02T00:00:00Z", repositoryName="bert", copies={"min": 1})
        await stage.model("old", created="2026-01-01T00:00:00Z", repositoryName="bert")
        triton = await stage.triton(bert=FakeModel())
        await stage.start()
        await stage.phase("new", "Conflict")
        assert stage.condition("new", "Accepted")[:2] == ("False", "Conflict")
        assert "old" in stage.condition("new", "Accepted")[2]
        assert stage.status("old")["phase"] == "Cold" and triton.named("load") == []
        await stage.kube.remove("models", "old")
        await stage.phase("new", "Ready")


async def test_a_fixed_number_of_pods_is_the_users_and_said_so():
    async with Stage() as stage:
        await stage.pool(pods={"fixed": 3, "max": 5})
        await stage.start()
        await stage.kube.until(
            lambda k: (k.find("deployments", "pool-triton") or {}).get("spec", {}).get("replicas") == 3
        )
        await stage.kube.until(lambda _: stage.condition("pool", "Autoscaling", "modelpools"))
        assert stage.condition("pool", "Autoscaling", "modelpools")[:2] == ("False", "FixedByUser")


async def test_pods_are_kept_between_minimum_and_maximum():
    async with Stage() as stage:
        await stage.pool(pods={"min": 1, "max": 2})
        await stage.start()
        await stage.kube.until(lambda k: k.find("deployments", "pool-triton"))
        await stage.kube.edit("deployments", "pool-triton", lambda d: d["spec"].update(replicas=7))
        await stage.kube.until(lambda k: k.find("deployments", "pool-triton")["spec"]["replicas"] == 2)


async def test_in_mode_advise_nothing_is_loaded_and_everything_is_said():
    async with Stage() as stage:
        await stage.pool(mode="Advise")
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.kube.until(lambda _: stage.events("AdviseLoad", "a"))
        reason, message = stage.events("AdviseLoad", "a")[0]
        assert reason == "MinCopies" and message.startswith("Advice:")
        await stage.kube.until(lambda _: stage.status("a").get("lastDecision"))
        await stage.kube.until(lambda k: "larder.dev/serving" in str(k.find("pods", "t0")["status"]))
        assert triton.named("load") == []


async def test_a_pool_whose_objects_are_refused_says_why_in_the_servers_words():
    async with Stage() as stage:
        stage.kube.refuse("PATCH", "deployments/pool-triton", 422, "Invalid", "spec.template: Invalid value: 'bad'")
        await stage.pool()
        await stage.start()
        await stage.kube.until(
            lambda _: (stage.condition("pool", "PodsHealthy", "modelpools") or "  ")[1] == "PodsRefused"
        )
        assert "Invalid value: 'bad'" in stage.condition("pool", "PodsHealthy", "modelpools")[2]
        stage.kube.refusals.clear()
        await stage.kube.until(lambda k: k.find("deployments", "pool-triton"))


async def test_a_pod_whose_image_cannot_be_pulled_is_said_with_its_own_message():
    def change(pod):
        waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "nowhere:1"'}
        pod["status"]["containerStatuses"][0] = {"name": "triton", "state": {"waiting": waiting}, "ready": False}

    async with Stage() as stage:
        await stage.pool()
        await stage.triton()
        await stage.kube.edit("pods", "t0", change)
        await stage.start()
        await stage.kube.until(
            lambda _: (stage.condition("pool", "PodsHealthy", "modelpools") or "  ")[1] == "ImageUnavailable"
        )
        assert 'pulling image "nowhere:1"' in stage.condition("pool", "PodsHealthy", "modelpools")[2]


async def test_a_repository_that_cannot_be_mounted_is_said_with_the_kubelets_message():
    def change(pod):
        pod["status"]["containerStatuses"][0] = {
            "name": "triton",
            "state": {"waiting": {"reason": "ContainerCreating"}},
        }

    async with Stage() as stage:
        await stage.pool()
        await stage.triton()
        await stage.kube.edit("pods", "t0", change)
        event = {
            "kind": "Event",
            "metadata": {"name": "e", "namespace": "tests"},
            "involvedObject": {"uid": "uid-of-t0", "name": "t0"},
            "action": "",
            "reason": "FailedMount",
            "message": 'configmap "repository" not found',
        }
        await stage.kube.put(event)
        await stage.start()
        await stage.kube.until(
            lambda _: (stage.condition("pool", "RepositoryAvailable", "modelpools") or "  ")[1] == "NotMounted"
        )
        assert 'configmap "repository" not found' in stage.condition("pool", "RepositoryAvailable", "modelpools")[2]


async def test_a_pool_that_cannot_be_read_says_so_and_heals():
    async with Stage() as stage:
        await stage.start()
        await stage.pool(memory={"budget": "many", "defaultModelMemory": "1Mi"})
        await stage.kube.until(lambda _: (stage.condition("pool", "Accepted", "modelpools") or " ")[0] == "False")
        assert "memory.budget" in stage.condition("pool", "Accepted", "modelpools")[2]
        await stage.pool()
        await stage.kube.until(lambda _: (stage.condition("pool", "Accepted", "modelpools") or " ")[0] == "True")


async def test_status_is_not_written_again_when_nothing_changed():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        await stage.triton(a=FakeModel())
        await stage.start()
        await stage.phase("a", "Ready")
        await stage.kube.until(lambda _: len(stage.events("Load", "a")) == 2)
        (running,) = stage.operator._running.values()
        await asyncio.sleep(0.1)
        writes = len(stage.kube.history)
        for _ in range(5):
            running.runner.wake()
            await asyncio.sleep(0.02)
        written = [
            (e, kind, m["metadata"]["name"]) for _, e, kind, m in stage.kube.history[writes:] if kind != "leases"
        ]
        assert written == []


@pytest.mark.parametrize("release", [True, False])
async def test_a_replica_that_ends_in_good_order_lets_another_lead_at_once(release):
    async with Stage() as stage:
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda k: k.find("deployments", "pool-gateway"))
        await stage.stop(release)
        holder = stage.kube.find("leases", "larder-operator")["spec"]["holderIdentity"]
        assert (holder == "") is release


async def test_a_number_of_pods_that_somebody_else_sets_is_set_right_at_once_and_said_once():
    async with Stage() as stage:
        await stage.pool(pods={"fixed": 2})
        await stage.start()

        def replicas():
            return (stage.kube.find("deployments", "pool-triton") or {"spec": {}})["spec"].get("replicas")

        await stage.kube.until(lambda _: replicas() == 2)
        await stage.kube.edit("deployments", "pool-triton", lambda m: m["spec"].update(replicas=5))
        await stage.kube.until(lambda _: replicas() == 2)
        await stage.kube.until(lambda _: stage.events("Scale"))
        assert [reason for reason, _ in stage.events("Scale")] == ["FixedByUser"]
        assert all(event.get("count") == 1 for event in stage.kube.all("events") if event["action"] == "Scale")


async def test_a_pool_that_vanished_while_nobody_was_told_is_kept_no_longer():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        await stage.kube.remove("modelpools", "pool")
        await stage.kube.until(lambda _: stage.condition("a", "PoolFound")[0] == "False")
        assert not stage.operator.pools


async def test_a_pool_made_anew_under_the_same_name_is_kept_though_the_former_ones_end_is_seen_later():
    async with Stage() as stage:
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda k: k.find("deployments", "pool-gateway"))
        manifest = builders.pool_manifest()
        manifest["metadata"]["uid"] = "another"
        stage.operator.put_pool(manifest)
        listed = len([r for r in stage.kube.requests if r[1].endswith("/modelpools")])
        await stage.kube.remove("modelpools", "pool")
        await stage.kube.put(manifest)
        await stage.kube.forget()
        await stage.kube.until(lambda k: len([r for r in k.requests if r[1].endswith("/modelpools")]) >= listed + 2)
        assert [pool.meta.uid for pool in stage.operator.pools.values()] == ["another"]


async def test_the_status_of_a_model_that_is_gone_is_remembered_no_longer():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a")
        await stage.model("b")
        await stage.start()
        await stage.phase("a", "Cold")
        await stage.kube.remove("models", "a")
        await stage.kube.until(lambda _: stage.status("pool", "modelpools").get("modelsDeclared") == 1)
        assert set(stage.operator._surface.statuses._sheets) == {"uid-of-b", "uid-of-pool"}
