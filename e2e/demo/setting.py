"""The demo's stage: the cluster, Larder's chart, the namespace with the pool; and how it is all removed."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from e2e import chart, target
from e2e.demo import manifests
from e2e.demo.questions import WEIGHTS
from e2e.demo.timeline import Timeline
from e2e.kube import Kube, WaitTimeoutError
from e2e.served import served
from e2e.target import Target

POOL_SECONDS: Final = 180.0
GONE_SECONDS: Final = 90.0
SETTLE_SECONDS: Final = 5.0


def bring_up(timeline: Timeline) -> Target:
    """Return the cluster of KUBECONFIG, or this machine's own, brought up where it is not."""
    timeline.chapter("A cluster")
    used = target.use()
    how = "brought up for the demo" if used.was_started else "it was up"
    timeline.say("cluster", f"{' '.join(used.tools.kubectl)} ({how})")
    return used


def install(used: Target, timeline: Timeline) -> None:
    """Install the chart and wait for the operator."""
    timeline.chapter("Larder", f"helm upgrade --install {chart.RELEASE} helm/larder --namespace {chart.NAMESPACE}")
    with timeline.waiting("the operator is ready") as wait:
        chart.install(used.tools)
        chart.wait_ready(used.kube, wait.progress)


def apply(used: Target, timeline: Timeline) -> None:
    """Apply the pool and its models afresh, and wait until the pool is ready."""
    timeline.chapter("A pool with memory for two, and three models", "Weights come from packages in the Triton image:")
    for model, weights in WEIGHTS.items():
        timeline.say("model", f"{model:<10}{weights}")
    used.kube.apply(manifests.namespace(used.was_started))
    kube = used.kube.within(manifests.NAMESPACE)
    # An earlier demo's pool goes first, so that the story begins with nothing loaded.
    _remove_pool(kube, timeline, "the last demo's pool is gone")
    for manifest in (manifests.repository(), *manifests.pool_and_models()):
        kube.apply(manifest)
    with timeline.waiting("the pool is ready") as wait:
        kube.until(
            "ModelPool", manifests.POOL, lambda pool: is_ready(pool, wait.progress), POOL_SECONDS, "the pool is ready"
        )


def settle(used: Target) -> None:
    """Wait a moment for the Models' status to say what the pods hold: it is written a little behind."""
    kube = used.kube.within(manifests.NAMESPACE)

    def agree(items: Mapping[str, Mapping[str, Any]]) -> bool:
        resident = frozenset[str]().union(*(served(pod) for pod in kube.all("Pod")))
        return all(
            (item.get("status", {}).get("phase") == "Ready") == (name in resident) for name, item in items.items()
        )

    with contextlib.suppress(WaitTimeoutError):
        kube.until_all("Model", agree, SETTLE_SECONDS, "the Models' status is up to date")


def remove(timeline: Timeline, *, crds: bool, keep_cluster: bool) -> None:
    """Remove what the demo made, and the cluster if the demo brought it up."""
    if not target.is_up():
        timeline.say("down", "there is no cluster up; nothing to remove")
        return
    used = target.use()
    namespace = used.kube.get("Namespace", manifests.NAMESPACE)
    annotations = (namespace or {"metadata": {}})["metadata"].get("annotations") or {}
    if manifests.STARTED_CLUSTER in annotations and not keep_cluster:
        timeline.say("down", "the demo brought this cluster up, so it goes as a whole")
        target.take_down()
        return
    _remove_from(used, timeline, crds=crds)


def _remove_from(used: Target, timeline: Timeline, *, crds: bool) -> None:
    kube = used.kube
    _remove_pool(kube.within(manifests.NAMESPACE), timeline, "the demo's pool is gone")
    with timeline.waiting(f"namespace {manifests.NAMESPACE} is gone"):
        _remove_namespace(kube, manifests.NAMESPACE)
    with timeline.waiting(f"release {chart.RELEASE} is gone"):
        chart.uninstall(used.tools)
        _remove_namespace(kube, chart.NAMESPACE)
    for name in chart.CRDS if crds else ():
        kube.delete("CustomResourceDefinition", name)
    timeline.say("down", "the cluster stays up" + ("" if crds else ", with the custom resource definitions (--crds)"))


def _remove_namespace(kube: Kube, name: str) -> None:
    """Its pods end first: a namespace that finds some asks again only after half of their grace time."""
    kube.within(name).until_all("Pod", lambda pods: not pods, GONE_SECONDS, f"the pods of {name} are gone")
    kube.delete("Namespace", name)
    kube.until("Namespace", name, lambda item: item is None, GONE_SECONDS, f"namespace {name} is gone")


def _remove_pool(kube: Kube, timeline: Timeline, what: str) -> None:
    if kube.get("ModelPool", manifests.POOL) is None:
        return
    with timeline.waiting(what):
        for model in kube.all("Model"):
            kube.delete("Model", model["metadata"]["name"])
        kube.delete("ModelPool", manifests.POOL)
        kube.until_all("Pod", lambda pods: not pods, GONE_SECONDS, "the pool's pods are gone")


def is_ready(pool: Mapping[str, Any] | None, progress: Callable[[str], None] = lambda _: None) -> bool:
    """Return whether the pool answers requests, and pass on what it lacks."""
    conditions = ((pool or {}).get("status") or {}).get("conditions", [])
    by_type = {condition["type"]: condition for condition in conditions}
    ready = by_type.get("Ready", {"status": "Unknown", "reason": "NotYetKnown", "message": ""})
    progress(f"{ready['reason']} {ready['message']}".strip())
    return bool(ready["status"] == "True")
