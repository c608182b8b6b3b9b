"""A pool with a real Prometheus: its past is the forecast's, and when it is away that is said and nothing is done."""

import time
from collections.abc import Iterator

import pytest

from e2e import chart, leader, models, prometheus
from e2e.cluster.images import PROMETHEUS
from e2e.kube import Manifest
from e2e.tests import own_cluster
from e2e.tests.stage import POOL, Stage
from larder.api.names import GATEWAY

pytestmark = [pytest.mark.timeout(240), own_cluster.only]

SEEN_SECONDS = 60.0
"""Larder looks at Prometheus every 30 s."""
MINUTES = 240
ASKED = ("often", "usual")
TAKES_MIB = 60
"""With its own process less than 90 MiB: the pod holds two."""


@pytest.fixture
def watched(stage: Stage) -> Iterator[Stage]:
    """A pool whose gateways a Prometheus scrapes that knows four hours, and a new leader that reads it."""
    target = stage.target
    for manifest in prometheus.manifests(target.references[PROMETHEUS], past(time.time())):
        stage.kube.apply(manifest)
    names = (*ASKED, "never", "cold")
    files = {path: text for name in names for path, text in models.probe(name, memory_mib=TAKES_MIB).items()}
    memory = {"budget": "320Mi", "base": "100Mi", "defaultModelMemory": "90Mi"}
    stage.pool(files, pods={"min": 1, "max": 2}, memory=memory, wait=False)
    for name in names:
        stage.model(name, memory="90Mi")
    stage.kube.until("Deployment", prometheus.NAME, is_rolled_out, SEEN_SECONDS, "Prometheus is ready")
    chart.install(prometheus.read_by_larder(target, stage.namespace).tools)
    try:
        chart.wait_ready(target.kube)
        yield stage
    finally:
        chart.install(target.tools)
        chart.wait_ready(target.kube)


def past(now_seconds: float) -> str:
    """Return samples of a former gateway: two models were asked for every other minute, another one never."""
    end = int(now_seconds) // 60 * 60 - 60
    labels = f'job="{GATEWAY}",instance="10.0.0.1:9102",class="ok"'
    lines = [
        f'larder_requests_total{{model="{model}",{labels}}} {count} {end - 60 * (MINUTES - minute)}'
        for model, per_minute in (*((name, 0.5) for name in ASKED), ("never", 0))
        for minute in range(MINUTES + 1)
        for count in (int(minute * per_minute),)
    ]
    return "\n".join([*lines, "# EOF", ""])


def is_rolled_out(deployment: Manifest | None) -> bool:
    return deployment is not None and chart.is_rolled_out(deployment)


def minutes_watched(stage: Stage) -> float:
    """Return how much past the leader's forecast of the pool knows."""
    path = f"/api/v1/namespaces/{chart.NAMESPACE}/pods/{leader.find(stage.target.kube).pod}:9101/proxy/metrics"
    name = f'larder_forecast_watched_minutes{{namespace="{stage.namespace}",pool="{POOL}"}}'
    found = [line for line in stage.kubectl("get", "--raw", path).splitlines() if line.startswith(name)]
    return float(found[0].split()[-1])


def test_the_past_is_prometheus_own_and_while_it_is_away_nothing_is_done_for_lack_of_it(watched: Stage) -> None:
    watched.until_condition("ModelPool", POOL, "MetricsAvailable", True, SEEN_SECONDS)
    assert minutes_watched(watched) >= MINUTES - 10
    # Nobody has asked for anything yet: which two of the four are worth their memory only the past can tell.
    decisions = [watched.until_phase(name, "Ready")["status"]["lastDecision"] for name in ASKED]
    assert {decision["reason"] for decision in decisions} == {"Forecast"}
    with watched.clients() as pool:
        before = [pool.ask(name).load for name in ASKED]
        watched.kubectl("scale", "deployment", prometheus.NAME, "--replicas=0")
        said = watched.until_condition("ModelPool", POOL, "MetricsAvailable", False, SEEN_SECONDS)
        assert said["reason"] in {"Unreachable", "TimedOut"}
        assert "the last good data is of 20" in said["message"]
        assert [pool.ask(name).load for name in ASKED] == before
        assert done(watched) == []
        assert pool.ask("cold").status == 200
        watched.kubectl("scale", "deployment", prometheus.NAME, "--replicas=1")
        watched.until_condition("ModelPool", POOL, "MetricsAvailable", True, 2 * SEEN_SECONDS)
    assert "Scale" not in done(watched)


def done(stage: Stage) -> list[str]:
    """Return what was done to pods and to models that were loaded."""
    actions = [event.get("action") for event in stage.kube.all("Event")]
    return [action for action in actions if action in {"Scale", "Retire", "Drain"}]
