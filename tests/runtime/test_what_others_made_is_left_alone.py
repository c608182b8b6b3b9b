import copy

import pytest

from tests.runtime import builders
from tests.runtime.stage import Stage

NAMES = [
    ("Service", "services", "pool"),
    ("ServiceAccount", "serviceaccounts", "pool-triton"),
    ("Role", "roles", "pool-gateway"),
    ("RoleBinding", "rolebindings", "pool-gateway"),
    ("PodDisruptionBudget", "poddisruptionbudgets", "pool-triton"),
    ("Deployment", "deployments", "pool-triton"),
    ("Secret", "secrets", "pool-keys"),
]


def users(kind, name, **meta):
    return {"kind": kind, "metadata": {**builders.meta(name), **meta}, "spec": {"of": "the user"}}


def accepted(stage):
    return stage.condition("pool", "Accepted", "modelpools") or ("", "", "")


async def test_a_pool_is_made_once_the_name_that_it_needs_is_free():
    async with Stage() as stage:
        await stage.kube.put(users("Service", "pool"))
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda _: accepted(stage)[1] == "NameTaken")
        await stage.kube.remove("services", "pool")
        await stage.kube.until(lambda k: k.find("deployments", "pool-gateway"))
        await stage.kube.until(lambda _: accepted(stage)[0] == "True")
        (owner,) = stage.kube.find("services", "pool")["metadata"]["ownerReferences"]
        assert owner["uid"] == "uid-of-pool"


@pytest.mark.parametrize(("kind", "plural", "name"), NAMES)
async def test_what_a_user_made_under_a_name_of_the_pool_is_never_touched(kind, plural, name):
    async with Stage() as stage:
        theirs = copy.deepcopy(await stage.kube.put(users(kind, name)))
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda _: accepted(stage)[1] == "NameTaken")
        status, _, message = accepted(stage)
        assert status == "False" and f"{kind} {name}" in message and "delete it, or give the pool another" in message
        assert stage.condition("pool", "Ready", "modelpools")[:2] == ("False", "NameTaken")
        await stage.kube.until(lambda _: stage.events("Apply", "pool"))
        assert stage.kube.find(plural, name) == theirs
        assert not stage.kube.find("deployments", "pool-gateway")


async def test_what_a_former_pool_of_the_same_name_left_is_waited_for():
    async with Stage() as stage:
        former = [builders.owner("uid-of-the-former")]
        await stage.kube.put(users("Secret", "pool-keys", ownerReferences=former))
        await stage.kube.put(users("Deployment", "pool-triton", ownerReferences=former))
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda _: "a former ModelPool" in accepted(stage)[2])
        await stage.kube.remove("secrets", "pool-keys")
        await stage.kube.until(lambda _: "Deployment" in accepted(stage)[2])
        await stage.kube.remove("deployments", "pool-triton")
        await stage.kube.until(lambda k: k.find("deployments", "pool-gateway"))
        await stage.kube.until(lambda _: accepted(stage)[0] == "True")


async def test_while_a_name_is_taken_what_is_there_of_the_pool_is_kept_as_it_should_be():
    async with Stage() as stage:
        await stage.pool()
        await stage.start()
        await stage.kube.until(lambda k: k.find("deployments", "pool-gateway"))
        await stage.kube.put(users("Service", "pool"))
        await stage.kube.remove("deployments", "pool-gateway")
        await stage.kube.until(lambda _: accepted(stage)[1] == "NameTaken")
        await stage.pool(pods={"fixed": 2})
        await stage.kube.until(lambda k: k.find("deployments", "pool-triton")["spec"]["replicas"] == 2)
        assert stage.kube.find("services", "pool")["spec"] == {"of": "the user"}
