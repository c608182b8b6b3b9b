"""What the operator does and leaves alone: restarts, deletions with and without it, scale, Advise, uninstall."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e import chart, models
from e2e.kube import Kube, Manifest
from e2e.target import Target
from e2e.tests.stage import POOL, Stage, condition_of, probes
from e2e.tests.trickle import Trickle
from e2e.tests.triton import triton
from larder.api.names import COMPONENT_LABEL, POOL_LABEL, TRITON

OWNED = (
    "Deployment",
    "ReplicaSet",
    "Pod",
    "Service",
    "Secret",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "PodDisruptionBudget",
    "EndpointSlice",
)
GONE_SECONDS = 60.0


def operator_deployment(kube: Kube) -> Manifest:
    (deployment,) = kube.within(chart.NAMESPACE).all("Deployment")
    return deployment


def scale_operator(kube: Kube, replicas: int) -> None:
    within = kube.within(chart.NAMESPACE)
    within.patch("Deployment", operator_deployment(kube)["metadata"]["name"], {"spec": {"replicas": replicas}})
    if replicas == 0:
        within.until_all("Pod", lambda pods: not pods, GONE_SECONDS, "the operator is gone")
    else:
        chart.wait_ready(kube)


@pytest.fixture
def without_operator(kube: Kube) -> Iterator[Kube]:
    """The operator may be scaled to 0; it is back afterwards."""
    replicas = operator_deployment(kube)["spec"]["replicas"]
    yield kube
    scale_operator(kube, replicas)


def test_a_restarted_operator_adopts_what_is_loaded_without_a_reload_or_a_lost_request(stage: Stage) -> None:
    stage.pool(probes("alpha", "beta", "gamma"))
    for name in ("alpha", "beta", "gamma"):
        stage.model(name)
    kube = stage.target.kube
    with stage.clients() as pool:
        before = {name: pool.ask(name).load for name in ("alpha", "beta")}
        with Trickle(pool, "alpha", "beta") as trickle:
            replicas = operator_deployment(kube)["spec"]["replicas"]
            scale_operator(kube, 0)
            scale_operator(kube, replicas)
            assert pool.ask("gamma").model == "gamma"
            stage.until_phase("alpha", "Ready")
        assert trickle.wrong == []
        assert trickle.right > 10
        assert trickle.loads == {name: {load} for name, load in before.items()}


def test_a_deleted_model_is_drained_and_unloaded(stage: Stage) -> None:
    stage.pool(models.probe("slow", execute_seconds=2) | probes("alpha"))
    for name in ("slow", "alpha"):
        stage.model(name)
    with stage.clients() as pool, triton(stage) as server, ThreadPoolExecutor(1) as thread:
        assert pool.ask("slow").status == 200
        assert pool.ask("alpha").status == 200
        in_flight = thread.submit(pool.ask, "slow", 7)
        stage.kubectl("delete", "model", "slow", "--timeout=30s")
        assert in_flight.result().number == 8
        stage.until_served(lambda served: "slow" not in served, "slow is offered by no pod")
        eventually_ready(server, {"alpha"})
        assert pool.ask("slow").status == 404
        assert pool.ask("alpha").model == "alpha"


def eventually_ready(server: object, expected: set[str], timeout_seconds: float = 15.0) -> None:
    """Wait until Triton's own index, which can't be watched, shows exactly these models as ready."""
    deadline = time.monotonic() + timeout_seconds
    while (ready := server.ready()) != expected:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, f"Triton has {ready}, not {expected}"
        time.sleep(0.1)


def test_a_deleted_pool_leaves_nothing(stage: Stage) -> None:
    stage.pool(probes("alpha"))
    stage.model("alpha")
    with stage.clients() as pool:
        assert pool.ask("alpha").status == 200
    assert owned(stage)
    stage.kubectl("delete", "modelpool", POOL, "--timeout=60s")
    nothing_left(stage)
    assert stage.until_condition("Model", "alpha", "PoolFound", False)["reason"] == "PoolNotFound"


def test_pools_and_models_can_be_deleted_while_no_operator_runs(stage: Stage, without_operator: Kube) -> None:
    stage.pool(probes("alpha"))
    stage.model("alpha")
    with stage.clients() as pool:
        assert pool.ask("alpha").status == 200
    scale_operator(without_operator, 0)
    stage.kubectl("delete", "model", "alpha", "--timeout=20s")
    stage.kubectl("delete", "modelpool", POOL, "--timeout=20s")
    nothing_left(stage)


def owned(stage: Stage) -> list[str]:
    selector = f"{POOL_LABEL}={POOL}"
    return [f"{kind}/{i['metadata']['name']}" for kind in OWNED for i in stage.kube.all(kind, selector=selector)]


def nothing_left(stage: Stage) -> None:
    """Wait until no object of the pool is left, of any kind it has."""
    for kind in OWNED:

        def is_empty(objects: object) -> bool:
            assert isinstance(objects, dict)
            return not any(POOL_LABEL in (item["metadata"].get("labels") or {}) for item in objects.values())

        stage.kube.until_all(kind, is_empty, GONE_SECONDS, f"no {kind} of the pool is left")


def test_kubectl_scale_fixes_the_number_of_pods_and_larder_says_so(stage: Stage) -> None:
    stage.pool(probes("alpha"), pods={"min": 1, "max": 3})
    assert stage.until_condition("ModelPool", POOL, "Autoscaling", True)
    # The scale subresource wants a value to change: there is none until the pool is first fixed.
    stage.kube.patch("ModelPool", POOL, {"spec": {"pods": {"fixed": 1}}})
    stage.kubectl("scale", "modelpool", POOL, "--replicas=2")
    assert stage.until_condition("ModelPool", POOL, "Autoscaling", False)["reason"] == "FixedByUser"
    pool = stage.kube.until(
        "ModelPool", POOL, lambda item: status_of(item).get("readyPods") == 2, 60, "two pods are ready"
    )
    assert (pool or {})["spec"]["pods"]["fixed"] == 2
    assert len(stage.triton_pods()) == 2
    stage.kubectl("scale", "modelpool", POOL, "--replicas=1")
    stage.kube.until_all("Pod", lambda pods: tritons(pods) == 1, 60, "one Triton pod is left")


def tritons(pods: object) -> int:
    assert isinstance(pods, dict)
    return sum((pod["metadata"].get("labels") or {}).get(COMPONENT_LABEL) == TRITON for pod in pods.values())


def status_of(item: Manifest | None) -> Manifest:
    return (item or {}).get("status") or {}


def test_a_pool_that_only_advises_loads_nothing_and_says_what_it_would_do(stage: Stage) -> None:
    stage.pool(probes("alpha"), mode="Advise", gateway={"replicas": 1, "longestHold": "4s"})
    stage.model("alpha")
    with stage.clients() as pool, triton(stage) as server:
        assert pool.ask("alpha").status == 503
        assert server.ready() == set()
    found = stage.kube.until(
        "Model", "alpha", lambda item: bool(status_of(item).get("lastDecision")), 20, "the advice is in the status"
    )
    assert status_of(found)["lastDecision"]["reason"] == "ColdRequest"


def test_a_model_loaded_behind_larders_back_is_shown_as_unmanaged(stage: Stage) -> None:
    stage.pool(probes("alpha", "stranger"))
    stage.model("alpha")
    with triton(stage) as server:
        server.load("stranger")
    said = stage.until_condition("ModelPool", POOL, "ModelsManaged", False, 90)
    assert "stranger" in said["message"]


def test_an_uninstalled_chart_leaves_definitions_and_what_is_served(stage: Stage, target: Target) -> None:
    stage.pool(probes("alpha"))
    stage.model("alpha")
    with stage.clients() as pool:
        load = pool.ask("alpha").load
        chart.uninstall(target.tools)
        assert all(target.kube.get("CustomResourceDefinition", name) for name in chart.CRDS)
        assert pool.ask("alpha").load == load
        chart.install(target.tools)
        chart.wait_ready(target.kube)
        stage.until_phase("alpha", "Ready")
        assert pool.ask("alpha").load == load
    assert condition_of(stage.kube.get("ModelPool", POOL), "Ready")["status"] == "True"


def test_min_copies_keep_a_model_loaded_without_a_request(stage: Stage) -> None:
    stage.pool(probes("alpha"))
    stage.model("alpha", copies={"min": 1})
    decision = stage.until_phase("alpha", "Ready")["status"]["lastDecision"]
    assert decision["reason"] == "MinCopies"


def test_a_changed_revision_is_taken_over_without_a_lost_request(stage: Stage) -> None:
    # Triton itself leaves a model alone whose files did not change, and a ConfigMap's don't in a running pod.
    stage.pool(probes("alpha"))
    stage.model("alpha", revision="one")
    with stage.clients() as pool:
        assert pool.ask("alpha").status == 200
        with Trickle(pool, "alpha") as trickle:
            stage.model("alpha", revision="two")

            def is_second(item: Manifest | None) -> bool:
                placements = status_of(item).get("placements") or []
                return [(p["state"], p.get("revision")) for p in placements] == [("Ready", "two")]

            stage.kube.until("Model", "alpha", is_second, 30, "revision two is ready")
            assert pool.ask("alpha").status == 200
    assert trickle.wrong == []
