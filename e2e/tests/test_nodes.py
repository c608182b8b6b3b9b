"""Nodes that are drained or lost: what the other node holds goes on serving.

With a cluster of your own nothing here runs: to cut a node off is not for a test to do there.
"""

import os
import socket
import time
from collections.abc import Mapping

import pytest

from e2e import nodes
from e2e.cluster.settings import from_environment
from e2e.kube import Kube, Manifest, is_ready
from e2e.target import is_given
from e2e.tests.stage import POOL, Pool, Reply, Stage, probes
from e2e.tests.trickle import Trickle
from larder.api.names import COMPONENT_LABEL, GATEWAY, GRPC_PORT, HTTP_PORT, TRITON

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        is_given(from_environment(), os.environ),
        reason="KUBECONFIG names a cluster, whose nodes are not a test's to lose",
    ),
]
SPREAD_SECONDS = 60.0
DRAIN_SECONDS = 120.0
IN_A_ROW = 20
"""So many new connections in a row say that kube-proxy, which chooses at random, has followed."""
BOTH = {"node1", nodes.SECOND}


@pytest.fixture
def spread(stage: Stage) -> Stage:
    """Two nodes with a gateway and a Triton pod on each, and one model on both."""
    nodes.bring_up_second()
    stage.pool(probes("alpha", "beta"), pods={"min": 2, "max": 2}, gateway={"replicas": 2, "longestHold": "30s"})
    stage.model("alpha", copies={"min": 2})
    stage.model("beta")
    stage.until_condition("Model", "alpha", "Ready", True)
    stage.kube.until_all(
        "Pod", lambda pods: where(pods, TRITON) == BOTH == where(pods, GATEWAY), SPREAD_SECONDS, "both"
    )
    return stage


def where(pods: Mapping[str, Manifest], component: str) -> set[str]:
    """Return the nodes of the ready pods of a component."""
    of_it = [pod for pod in pods.values() if pod["metadata"]["labels"].get(COMPONENT_LABEL) == component]
    return {pod["spec"].get("nodeName", "") for pod in of_it if is_ready(pod)}


def until_service_leaves(stage: Stage, node: str) -> None:
    """Wait until the Service leads to no gateway on that node any more."""

    def left(slices: Mapping[str, Manifest]) -> bool:
        ends = [end for item in slices.values() for end in item.get("endpoints") or () if end.get("nodeName") == node]
        return bool(slices) and not any(end["conditions"].get("ready") for end in ends)

    stage.kube.until_all("EndpointSlice", left, SPREAD_SECONDS, f"the Service leads to no gateway on {node}")
    address = service_address(stage)
    deadline, reached = time.monotonic() + SPREAD_SECONDS, 0
    while reached < IN_A_ROW:
        assert time.monotonic() < deadline, "kube-proxy still leads to the lost gateway"
        try:
            socket.create_connection((address, HTTP_PORT), timeout=1.0).close()
            reached += 1
        except OSError:
            reached = 0


def service_address(stage: Stage) -> str:
    service = stage.kube.get("Service", POOL)
    assert service is not None
    return str(service["spec"]["clusterIP"])


def clients(stage: Stage) -> Pool:
    """Return clients of the Service itself, which finds another gateway when one is gone."""
    return Pool({port: port for port in (HTTP_PORT, GRPC_PORT)}, service_address(stage))


def wrong(replies: list[Reply], model: str) -> list[str]:
    return [f"{reply.status} {reply.text}" for reply in replies if (reply.status, reply.model) != (200, model)]


def test_a_node_is_drained_under_load_and_no_request_is_lost(spread: Stage) -> None:
    pool = clients(spread)
    with Trickle(pool, "alpha", "beta") as trickle:
        try:
            spread.kubectl(
                *("drain", nodes.SECOND, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=100s"),
                timeout_seconds=DRAIN_SECONDS,
            )
            assert wrong(pool.ask_at_once("beta", 8), "beta") == []
        finally:
            spread.kubectl("uncordon", nodes.SECOND)
    assert trickle.wrong == []
    assert trickle.right > 50


def test_when_a_node_is_lost_requests_reach_the_other_one(spread: Stage, kube: Kube) -> None:
    pool = clients(spread)
    assert wrong(pool.ask_at_once("beta", 4), "beta") == []
    with nodes.lost(kube):
        until_service_leaves(spread, nodes.SECOND)
        # A connection that a client kept to the lost gateway is the client's to give up.
        pool = clients(spread)
        with Trickle(pool, "alpha", "beta") as trickle:
            for model in ("alpha", "beta"):
                assert wrong(pool.ask_at_once(model, 64), model) == []
    assert trickle.wrong == []
    spread.kube.until_all(
        "Pod", lambda pods: where(pods, TRITON) == BOTH == where(pods, GATEWAY), SPREAD_SECONDS, "both again"
    )
    assert wrong(pool.ask_at_once("alpha", 8), "alpha") == []
