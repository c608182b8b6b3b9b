"""What happens to the pool in each phase, done once and waited for until the pool has recovered. Blocking."""

import json
import random
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from e2e import chart, leader, prometheus
from e2e.churn import host
from e2e.churn.plan import PODS_MAX, PODS_MIN, Event
from e2e.churn.setting import Scene, is_rolled_out
from e2e.cluster import containers, lifecycle
from e2e.kube import Manifest, is_ready
from e2e.tests.stage import POOL, condition_of
from larder.api.names import COMPONENT_LABEL, GATEWAY, POOL_LABEL, TRITON, gateway_name
from larder.errors import UnavailableError

RECOVERED_SECONDS: Final = 150.0
BREATH_SECONDS: Final = 2.0
"""Between two times of one event."""
LARDER: Final = "larder"

Happening = Callable[[Scene, float], None]
"""Does it once; the seconds are how long what is away stays so."""


def evictions(scene: Scene, away_seconds: float) -> None:
    """Nothing is done: the requests alone make the churn."""


def scaling(scene: Scene, away_seconds: float) -> None:
    """One pod more, and one less again."""
    for pods in (PODS_MAX, PODS_MIN):
        scene.stage.kubectl("scale", "modelpool", POOL, f"--replicas={pods}")
        _until_pods(scene, pods)


def pod_deleted(scene: Scene, away_seconds: float) -> None:
    """A Triton pod is deleted as a user deletes it."""
    pod = random.choice(scene.stage.triton_pods())
    name = pod["metadata"]["name"]
    scene.stage.kubectl("delete", "pod", name, "--wait=false")
    scene.kube.until("Pod", name, lambda item: item is None, RECOVERED_SECONDS, f"pod {name} is gone")
    _until_pods(scene, PODS_MIN)


def server_killed(scene: Scene, away_seconds: float) -> None:
    """The server of a Triton pod is killed; its container restarts in place."""
    pod = random.choice(scene.stage.triton_pods())
    name, before = pod["metadata"]["name"], _restarts(pod)
    host.send(host.one(pod["metadata"]["uid"], "tritonserver"), signal.SIGKILL)
    scene.kube.until("Pod", name, lambda item: _restarts(item) > before, RECOVERED_SECONDS, f"{name} restarted")
    _until_pods(scene, PODS_MIN)


def stub_killed(scene: Scene, away_seconds: float) -> None:
    """The process of one model is killed; its server goes on and says that the model is ready."""
    stubs = [
        stub
        for pod in scene.stage.triton_pods()
        for stub in host.processes(pod["metadata"]["uid"], "triton_python_backend_stub")
    ]
    if not stubs:
        raise UnavailableError("no model is loaded whose process could be killed")
    host.send(random.choice(stubs), signal.SIGKILL)
    time.sleep(BREATH_SECONDS)


def operator_killed(scene: Scene, away_seconds: float) -> None:
    """The leading operator is killed; another one leads, and the killed one comes back."""
    kube = scene.stage.target.kube
    killed = leader.find(kube)
    host.send(killed.process, signal.SIGKILL)
    leader.until_another(kube, killed, RECOVERED_SECONDS)
    chart.wait_ready(kube)


def api_server_away(scene: Scene, away_seconds: float) -> None:
    """The API server is killed, stays away, and is started again."""
    with lifecycle.without_api_server(scene.settings):
        time.sleep(away_seconds)
    leader.until_heard_of(scene.stage.target.kube, RECOVERED_SECONDS)
    _until_ready(scene)


def prometheus_away(scene: Scene, away_seconds: float) -> None:
    """Prometheus goes, stays away, and comes back with nothing it knew."""
    scene.stage.kubectl("scale", "deployment", prometheus.NAME, "--replicas=0")
    time.sleep(away_seconds)
    scene.stage.kubectl("scale", "deployment", prometheus.NAME, "--replicas=1")
    scene.kube.until("Deployment", prometheus.NAME, is_rolled_out, RECOVERED_SECONDS, "Prometheus is back")


def gateway_frozen(scene: Scene, away_seconds: float) -> None:
    """One gateway's processes are stopped for a time that its clients can wait, and go on."""
    pods = scene.kube.all("Pod", selector=f"{POOL_LABEL}={POOL},{COMPONENT_LABEL}={GATEWAY}")
    frozen = host.processes(random.choice(pods)["metadata"]["uid"])
    try:
        for process in frozen:
            host.send(process, signal.SIGSTOP)
        time.sleep(away_seconds)
    finally:
        for process in frozen:
            host.send(process, signal.SIGCONT)
    _until_ready(scene)


def gateways_restarted(scene: Scene, away_seconds: float) -> None:
    """The gateway's pods are replaced one by one."""
    name = gateway_name(POOL)
    scene.stage.kubectl("rollout", "restart", f"deployment/{name}")
    _until_gateways(scene)


def operator_upgraded(scene: Scene, away_seconds: float) -> None:
    """Larder is upgraded to an image of another name: operators and gateways are replaced."""
    target = scene.stage.target
    images = json.loads(target.tools.values)["images"]
    image = images[LARDER]
    deployed = target.kube.within(chart.NAMESPACE).all("Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    other = {"tag": f"{image['tag']}-next"} if deployed["image"].endswith(image["tag"]) else {}
    for node in scene.settings.nodes if other else ():
        reference = f"{image['repository']}:{image['tag']}"
        containers.tag_image(node, reference, f"{reference}-next")
    used = {**image, **other}
    chart.install(target.tools.with_values(images={**images, LARDER: used}))
    chart.wait_ready(target.kube)
    wanted = f"{image['repository']}:{used['tag']}"

    def is_upgraded(deployment: Manifest | None) -> bool:
        there = {c["image"] for c in (deployment or {})["spec"]["template"]["spec"]["containers"]} if deployment else {}
        return wanted in there and is_rolled_out(deployment)

    scene.kube.until("Deployment", gateway_name(POOL), is_upgraded, RECOVERED_SECONDS, "the gateways run the new image")
    _until_gateways(scene)


HAPPENINGS: Final[Mapping[Event, Happening]] = {
    Event.EVICTIONS: evictions,
    Event.SCALING: scaling,
    Event.POD_DELETED: pod_deleted,
    Event.SERVER_KILLED: server_killed,
    Event.STUB_KILLED: stub_killed,
    Event.OPERATOR_KILLED: operator_killed,
    Event.API_SERVER_AWAY: api_server_away,
    Event.PROMETHEUS_AWAY: prometheus_away,
    Event.GATEWAY_FROZEN: gateway_frozen,
    Event.GATEWAYS_RESTARTED: gateways_restarted,
    Event.OPERATOR_UPGRADED: operator_upgraded,
}


def _until_pods(scene: Scene, count: int) -> None:
    """Wait until so many Triton pods are ready and no other is left."""

    def holds(pods: Mapping[str, Manifest]) -> bool:
        tritons = [pod for pod in pods.values() if pod["metadata"]["labels"].get(COMPONENT_LABEL) == TRITON]
        return len(tritons) == count and all(is_ready(pod) for pod in tritons)

    scene.kube.until_all("Pod", holds, RECOVERED_SECONDS, f"{count} Triton pods are ready and no other is left")


def _until_gateways(scene: Scene) -> None:
    name = gateway_name(POOL)
    scene.kube.until("Deployment", name, is_rolled_out, RECOVERED_SECONDS, "the gateways are replaced")

    def holds(pods: Mapping[str, Manifest]) -> bool:
        gateways = [pod for pod in pods.values() if pod["metadata"]["labels"].get(COMPONENT_LABEL) == GATEWAY]
        return all("deletionTimestamp" not in pod["metadata"] for pod in gateways)

    scene.kube.until_all("Pod", holds, RECOVERED_SECONDS, "the old gateways are gone")


def _until_ready(scene: Scene) -> None:
    scene.kube.until(
        "ModelPool",
        POOL,
        lambda item: condition_of(item, "Ready").get("status") == "True",
        RECOVERED_SECONDS,
        "the pool is ready",
    )


def _restarts(pod: Manifest | None) -> int:
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses", [])
    return sum(status["restartCount"] for status in statuses if status["name"] == TRITON)
