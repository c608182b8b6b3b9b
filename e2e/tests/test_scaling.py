"""The number of pods: up on a burst and down after, none at all, by kubectl and an HPA, rollouts and deletions."""

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
import urllib3

from e2e import chart, metrics_server, models
from e2e.forward import forward
from e2e.kube import Manifest, is_ready
from e2e.served import served
from e2e.tests.stage import POOL, Stage, condition_of, probes
from e2e.tests.trickle import Trickle
from larder.api.names import API_VERSION

# Each waits for pods to start, serve and go, on a machine that may be busy with other things.
pytestmark = pytest.mark.timeout(150)

SCALE_SECONDS = 60.0
BURST_SECONDS = 20.0
CLIENTS = 6


def pods_of(item: Manifest | None) -> tuple[int, int]:
    status = (item or {}).get("status") or {}
    return status.get("pods", -1), status.get("readyPods", -1)


def until_pods(stage: Stage, pods: int, ready: int | None = None, timeout_seconds: float = SCALE_SECONDS) -> None:
    """Wait until the pool's status says so."""
    wanted = (pods, pods if ready is None else ready)
    what = f"{wanted[1]} of {wanted[0]} pods are ready"
    stage.kube.until("ModelPool", POOL, lambda item: pods_of(item) == wanted, timeout_seconds, what)


def scaled(stage: Stage) -> list[tuple[str, str]]:
    """What Events say of pods that came and went: action and reason, oldest first."""
    events = [e for e in stage.kube.all("Event") if e.get("action") in {"Scale", "Retire", "Dismiss", "Keep"}]
    return [(e["action"], e["reason"]) for e in sorted(events, key=lambda e: e["metadata"]["creationTimestamp"])]


def test_a_burst_adds_a_pod_within_seconds_and_quiet_takes_it_away_after_its_models_moved(stage: Stage) -> None:
    files = {**models.probe("busy", execute_seconds=0.2), **probes("calm")}
    stage.pool(files, pods={"min": 1, "max": 2, "scaleDownAfter": "8s"})
    stage.model("busy", slo={"latency": "500ms", "coldStart": "5s"})
    stage.model("calm")
    with stage.clients() as pool:
        assert [pool.ask(name).status for name in ("busy", "calm")] == [200, 200]
        began = time.monotonic()
        with contextlib.ExitStack() as burst:
            askers = [burst.enter_context(Trickle(pool, "busy")) for _ in range(CLIENTS)]
            stage.kube.until_all(
                "Event",
                lambda events: any(e.get("action") == "Scale" for e in events.values()),
                BURST_SECONDS,
                "a pod more is asked for",
            )
            print(f"a burst of {CLIENTS} clients: one pod more was asked for after {time.monotonic() - began:.1f} s")
            until_pods(stage, 2)
        assert [asker.wrong for asker in askers] == [[]] * CLIENTS
        until_pods(stage, 1)
        assert [pool.ask(name).status for name in ("busy", "calm")] == [200, 200]
    found = scaled(stage)
    assert ("Scale", "PoolScaleUp") in found
    assert ("Retire", "PoolScaleDown") in found and ("Dismiss", "PoolScaleDown") in found


def test_the_first_request_to_a_pool_without_pods_waits_for_one_and_the_pod_goes_when_nobody_asks(stage: Stage) -> None:
    settings = {"replicas": 1, "longestHold": "60s"}
    stage.pool(probes("alpha"), pods={"min": 0, "max": 1, "scaleDownAfter": "5s"}, gateway=settings)
    stage.model("alpha")
    assert stage.triton_pods() == []
    assert stage.until_condition("ModelPool", POOL, "Autoscaling", True)["reason"] == "NoPods"
    with stage.clients() as pool:
        began = time.monotonic()
        replies = pool.ask_at_once("alpha", 8)
        print(f"the first requests to a pool without pods took {time.monotonic() - began:.1f} s")
        assert [reply.status for reply in replies] == [200] * 8
        until_pods(stage, 0)
    assert ("Scale", "ColdRequest") in scaled(stage)


def test_a_rollout_loses_nothing_and_the_new_pod_has_the_models_before_the_old_one_goes(stage: Stage) -> None:
    stage.pool(probes("alpha", "beta"))
    stage.model("alpha")
    stage.model("beta")
    (old,) = stage.triton_pods()
    name = old["metadata"]["name"]
    with stage.clients() as pool, Trickle(pool, "alpha", "beta") as trickle:
        stage.until_served(lambda names: names >= {"alpha", "beta"}, "both are served")
        stage.kube.patch("ModelPool", POOL, {"spec": {"template": {"env": [{"name": "ROLLED", "value": "out"}]}}})
        stage.kube.until("Pod", name, lambda pod: pod is None or is_going(pod), SCALE_SECONDS, "the old pod goes")
        (new,) = stage.triton_pods()
        assert served(new) == {"alpha", "beta"}
        stage.kube.until("Pod", name, lambda pod: pod is None, SCALE_SECONDS, "the old pod is gone")
    assert trickle.wrong == []
    assert trickle.right > 10


def test_the_models_of_a_deleted_pod_are_elsewhere_without_being_asked_for(stage: Stage) -> None:
    stage.pool(probes("alpha", "beta"), pods={"fixed": 2}, drainSeconds=10)
    stage.model("alpha")
    stage.model("beta")
    until_pods(stage, 2)
    with stage.clients() as pool:
        victim = pool.ask("alpha").pod
        assert victim is not None
        stage.kubectl("delete", "pod", victim, "--wait=false")
        stage.until_served(lambda names: "alpha" in names, "its model is served elsewhere", 10)
        assert pool.ask("alpha").status == 200


def test_a_pod_whose_unload_does_not_end_is_replaced_and_nothing_is_lost(stage: Stage) -> None:
    files = {**probes("alpha"), **models.probe("stuck", unload_seconds=600)}
    stage.pool(files, loading={"unloadTimeout": "2s"})
    stage.model("alpha")
    stage.model("stuck")
    (old,) = stage.triton_pods()
    with stage.clients() as pool:
        assert pool.ask("stuck").status == 200
        with Trickle(pool, "alpha") as trickle:
            stage.kube.delete("Model", "stuck")
            name = old["metadata"]["name"]
            stage.kube.until("Pod", name, lambda pod: pod is None or is_going(pod), SCALE_SECONDS, "the old pod goes")
            after = pool.ask("alpha")
        assert (after.status, trickle.wrong) == (200, [])
    found = scaled(stage)
    assert {("Retire", "Recycle"), ("Scale", "Recycle"), ("Dismiss", "Recycle")} <= set(found)
    assert pods_of(stage.kube.get("ModelPool", POOL))[0] <= 2


def test_a_horizontal_pod_autoscaler_sets_the_number_of_pods(stage: Stage) -> None:
    stage.pool(probes("alpha"), pods={"fixed": 1, "max": 3})
    with metric(stage) as told:
        target = {"apiVersion": API_VERSION, "kind": "ModelPool", "name": POOL}
        stage.kube.apply(metrics_server.autoscaler(stage.namespace, target, 3))
        told(2)
        until_pods(stage, 2, timeout_seconds=90)
        found = stage.kube.get("ModelPool", POOL)
        assert (found or {})["spec"]["pods"]["fixed"] == 2
        assert condition_of(found, "Autoscaling")["reason"] == "FixedByUser"
        told(1)
        until_pods(stage, 1, timeout_seconds=90)
    assert ("Retire", "FixedByUser") in scaled(stage)


def is_going(pod: Manifest | None) -> bool:
    return "deletionTimestamp" in (pod or {"metadata": {}})["metadata"]


@contextlib.contextmanager
def metric(stage: Stage) -> Iterator[Callable[[int], object]]:
    """A metrics server in the test's namespace; yields what sets its value."""
    operator = stage.target.kube.within(chart.NAMESPACE).all("Deployment")
    image = operator[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    *objects, service = metrics_server.manifests(stage.namespace, image)
    for manifest in objects:
        stage.kube.apply(manifest)
    stage.kube.until("Pod", metrics_server.NAME, is_ready, SCALE_SECONDS, "the metrics server is ready")
    stage.target.kube.apply(service)
    client = urllib3.PoolManager(cert_reqs="CERT_NONE")
    try:
        kubectl, port = stage.target.tools.kubectl, metrics_server.PORT
        with forward(kubectl, stage.namespace, f"pod/{metrics_server.NAME}", (port,)) as ports:
            url = f"https://127.0.0.1:{ports[port]}/value"
            yield lambda value: client.request("POST", url, body=str(value), timeout=10)
    finally:
        stage.target.kube.delete("APIService", service["metadata"]["name"])
