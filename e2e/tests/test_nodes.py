"""Nodes that are drained or lost: what the other node holds goes on serving.

With a cluster of your own nothing here runs: to cut a node off is not for a test to do there.
"""

import socket
import time
from collections.abc import Mapping

import pytest

from e2e import nodes
from e2e.kube import Kube, Manifest, is_ready
from e2e.tests import own_cluster
from e2e.tests.stage import Reply, Stage, probes
from e2e.tests.trickle import Trickle
from larder.api.names import COMPONENT_LABEL, GATEWAY, HTTP_PORT, TRITON

pytestmark = [pytest.mark.timeout(300), own_cluster.only]
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
    address = stage.service_address()
    deadline, reached = time.monotonic() + SPREAD_SECONDS, 0
    while reached < IN_A_ROW:
        assert time.monotonic() < deadline, "kube-proxy still leads to the lost gateway"
        try:
            socket.create_connection((address, HTTP_PORT), timeout=1.0).close()
            reached += 1
        except OSError:
            reached = 0


def wrong(replies: list[Reply], model: str) -> list[str]:
    return [f"{reply.status} {reply.text}" for reply in replies if (reply.status, reply.model) != (200, model)]


def test_a_node_is_drained_under_load_and_no_request_is_lost(spread: Stage) -> None:
    pool = spread.service_clients()
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
    pool = spread.service_clients()
    assert wrong(pool.ask_at_once("beta", 4), "beta") == []
    with nodes.lost(kube):
        until_service_leaves(spread, nodes.SECOND)
        # A connection that a client kept to the lost gateway is the client's to give up.
        pool = spread.service_clients()
        with Trickle(pool, "alpha", "beta") as trickle:
            for model in ("alpha", "beta"):
                assert wrong(pool.ask_at_once(model, 64), model) == []
    assert trickle.wrong == []
    spread.kube.until_all(
        "Pod", lambda pods: where(pods, TRITON) == BOTH == where(pods, GATEWAY), SPREAD_SECONDS, "both again"
    )
    assert wrong(pool.ask_at_once("alpha", 8), "alpha") == []
