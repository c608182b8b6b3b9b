"""Pods and containers that die: what was served there is served again, and nobody is sent where nothing answers."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from e2e import models
from e2e.kube import Manifest
from e2e.tests.stage import Pool, Reply, Stage, probes
from e2e.tests.trickle import Trickle
from e2e.tests.triton import triton

BACK_SECONDS = 60.0
PARALLEL = 64
END_SERVER = "kill $(grep -l '^Name:[[:space:]]*tritonserver$' /proc/[0-9]*/status | cut -d/ -f3)"
"""Process 1 is the sandbox's: the pod's containers share their processes."""


def restarts(pod: Manifest | None) -> int:
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses", [])
    return sum(status["restartCount"] for status in statuses if status["name"] == "triton")


def assert_right(replies: list[Reply], model: str) -> None:
    wrong = [f"{reply.status} {reply.text}" for reply in replies if reply.status != 200]
    assert wrong == []
    assert [(reply.model, reply.number) for reply in replies] == [(model, n + 1) for n in range(len(replies))]


def test_a_container_that_restarts_in_place_is_not_routed_to_until_it_serves(stage: Stage) -> None:
    stage.pool(probes("alpha"))
    stage.model("alpha")
    (pod,) = stage.triton_pods()
    name = pod["metadata"]["name"]
    with stage.clients() as pool:
        before = pool.ask("alpha").load
        with Trickle(pool, "alpha") as trickle:
            stage.kubectl("exec", name, "--container", "triton", "--", "sh", "-c", END_SERVER)
            stage.kube.until("Pod", name, lambda item: restarts(item) == 1, BACK_SECONDS, "the container restarted")
            after = pool.ask("alpha")
        assert after.status == 200, after.text
        assert after.load != before
        assert trickle.wrong == []
        assert trickle.right > 5
    assert [item["metadata"]["uid"] for item in stage.triton_pods()] == [pod["metadata"]["uid"]]


def test_the_models_of_a_killed_pod_are_served_again(stage: Stage) -> None:
    stage.pool(probes("alpha", "beta"))
    for name in ("alpha", "beta"):
        stage.model(name, copies={"min": 1})
    (pod,) = stage.triton_pods()
    with stage.clients() as pool:
        before = {name: pool.ask(name).pod for name in ("alpha", "beta")}
        stage.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        at_once = [pool.ask(name).status for name in ("alpha", "beta")]
        stage.until_served(lambda names: names >= {"alpha", "beta"}, "both are served elsewhere", BACK_SECONDS)
        after = {name: pool.ask(name) for name in ("alpha", "beta")}
    assert at_once == [200, 200]
    assert [reply.status for reply in after.values()] == [200, 200]
    assert not {reply.pod for reply in after.values()} & set(before.values())


def test_the_models_of_one_of_two_killed_pods_come_back_elsewhere(stage: Stage) -> None:
    stage.pool(probes("alpha", "beta"), pods={"min": 2, "max": 2})
    for name in ("alpha", "beta"):
        stage.model(name)
    with stage.clients() as pool:
        victim = pool.ask("alpha").pod
        assert victim is not None
        assert pool.ask("beta").status == 200
        with Trickle(pool, "alpha", "beta") as trickle:
            stage.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
            elsewhere = pool.ask("alpha")
        assert elsewhere.status == 200, elsewhere.text
        assert elsewhere.pod != victim
        assert trickle.wrong == []


# Where the kernel has cgroup v1 it ends one process of the container, on v2 all of them; both are brought about here.
@pytest.mark.parametrize("victim", ["the model's own process", "the server"])
def test_the_models_of_a_pod_that_ran_out_of_memory_are_served_again(stage: Stage, victim: str) -> None:
    probe: dict[str, Any] = {"grow_mib": 2000}
    # What ends its server is asked again, and the kubelet waits longer after each end: it is held for one or two.
    spec: dict[str, Any] = {"gateway": {"replicas": 1, "longestHold": "8s"}}
    if victim == "the server":
        # Of a guaranteed pod the kernel spares every process, but for the one that asks to be ended first.
        exactly = {"cpu": "300m", "memory": "600Mi"}
        probe["blame_server"] = True
        spec["template"] = {"resources": {"requests": exactly, "limits": exactly}}
    stage.pool(models.probe("hungry", **probe) | probes("alpha"), **spec)
    for name in ("hungry", "alpha"):
        stage.model(name)
    (pod,) = stage.triton_pods()
    name = pod["metadata"]["name"]
    with stage.clients() as pool:
        before = pool.ask("hungry").load
        assert pool.ask("alpha").status == 200
        assert pool.ask("hungry", -1).status != 200
        if victim == "the server":
            stage.kube.until("Pod", name, lambda item: "OOMKilled" in ends(item), BACK_SECONDS, "it was OOMKilled")
        healed = until_right(pool, "hungry")
        assert healed.load != before
        assert until_right(pool, "alpha").model == "alpha"


def ends(pod: Manifest | None) -> list[str]:
    """Return why containers of the pod ended."""
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses", [])
    moments = [status.get(moment, {}).get("terminated") for status in statuses for moment in ("state", "lastState")]
    return [ended["reason"] for ended in moments if ended]


def until_right(pool: Pool, model: str) -> Reply:
    """Ask until the answer is right: what the model's own process was busy with may fail, what comes later may not."""
    deadline = time.monotonic() + BACK_SECONDS
    while (reply := pool.ask(model)).status != 200:
        assert time.monotonic() < deadline, reply.text
        time.sleep(0.2)
    return reply


def test_requests_on_a_stale_route_are_all_answered_right(stage: Stage) -> None:
    stage.pool(probes("alpha"))
    stage.model("alpha")
    with stage.clients() as pool, triton(stage) as server:
        assert pool.ask("alpha").status == 200
        server.unload("alpha")
        assert_right(pool.ask_at_once("alpha", PARALLEL), "alpha")


def test_requests_on_a_dead_pod_are_all_answered_right(stage: Stage) -> None:
    stage.pool(probes("alpha"))
    stage.model("alpha")
    with stage.clients() as pool:
        name = pool.ask("alpha").pod
        assert name is not None
        with ThreadPoolExecutor(1) as thread:
            killed = thread.submit(stage.kubectl, "delete", "pod", name, "--grace-period=0", "--force")
            replies = pool.ask_at_once("alpha", PARALLEL)
            killed.result()
        assert_right(replies, "alpha")
        assert_right(pool.ask_at_once("alpha", PARALLEL), "alpha")
