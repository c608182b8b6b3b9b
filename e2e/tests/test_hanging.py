"""A Triton pod that hangs for most of a minute: the others serve, and what it had taken is answered when it goes on."""

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from e2e.churn import host
from e2e.kube import Manifest, is_ready
from e2e.tests import own_cluster
from e2e.tests.stage import Stage, probes
from e2e.tests.trickle import Trickle

pytestmark = [pytest.mark.timeout(200), own_cluster.only]

HANGS_SECONDS = 45.0
"""Longer than its readiness may be missed, shorter than its liveness."""
NOTICED_SECONDS = 40.0
AT_ONCE_SECONDS = 5.0


def test_a_pod_that_hangs_is_routed_around_and_nothing_is_lost_or_loaded_again(stage: Stage) -> None:
    stage.pool(probes("alpha"), pods={"fixed": 2})
    stage.model("alpha", copies={"min": 2})
    stage.until_condition("Model", "alpha", "Ready", True, NOTICED_SECONDS)
    stage.kube.until("Model", "alpha", has_two_copies, NOTICED_SECONDS, "alpha is ready on both pods")
    with stage.clients() as pool, Trickle(pool, "alpha") as trickle, Trickle(pool, "alpha") as other:
        trickle.until_right(50)
        (hung, _) = stage.triton_pods()
        name = hung["metadata"]["name"]
        with frozen(hung):
            stage.kube.until("Pod", name, lambda pod: not is_ready(pod), NOTICED_SECONDS, f"{name} is not ready")
            replies = [pool.ask("alpha", timeout_seconds=AT_ONCE_SECONDS) for _ in range(20)]
            assert {(reply.status, reply.pod == name) for reply in replies} == {(200, False)}
        stage.kube.until("Pod", name, is_ready, NOTICED_SECONDS, f"{name} is ready again")
    assert trickle.wrong + other.wrong == []
    assert len(trickle.loads["alpha"] | other.loads["alpha"]) == 2


def has_two_copies(model: Manifest | None) -> bool:
    placements = ((model or {}).get("status") or {}).get("placements") or []
    return [placement["state"] for placement in placements] == ["Ready"] * 2


@contextlib.contextmanager
def frozen(pod: Manifest) -> Iterator[None]:
    """Within, and for so long at least, no process of the pod runs."""
    processes = host.processes(pod["metadata"]["uid"])
    wakes_seconds = time.monotonic() + HANGS_SECONDS
    try:
        for process in processes:
            host.send(process, signal.SIGSTOP)
        yield
        time.sleep(max(0.0, wakes_seconds - time.monotonic()))
    finally:
        for process in processes:
            host.send(process, signal.SIGCONT)
