"""Two operators: the leader is killed, or stopped and woken, in the middle of what it does; the other one goes on.

With a cluster of your own nothing here runs: its operators are not a test's to kill.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from e2e import chart, leader, models
from e2e.churn import host
from e2e.cluster.store import locked
from e2e.kube import Manifest
from e2e.served import served
from e2e.tests import own_cluster
from e2e.tests.stage import POOL, Reply, Stage, probes
from e2e.tests.trickle import Trickle
from e2e.tests.triton import loads
from larder.api.names import RETIREMENT_ANNOTATION

pytestmark = [pytest.mark.timeout(200), own_cluster.only]

FOLLOWED_SECONDS = 15.0
STOPPED_SECONDS = 30.0
LOAD_SECONDS = 14
"""Longer than it takes another one to lead."""
TURN_SECONDS = 150.0
GOES_SECONDS = 90.0
TAKES_MIB = 60
COUNTS = "90Mi"
"""With its own process."""
ROOM = 3
"""So many of these does a pod of the stage hold."""
PATIENT = {"replicas": 1, "longestHold": "60s"}

Alone = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture
def alone(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """What a test does to the leader it does alone, with another one ready: tests run side by side."""
    path = tmp_path_factory.getbasetemp().parent / "leader.lock"

    @contextlib.contextmanager
    def turn() -> Iterator[None]:
        with locked(path, timeout_seconds=TURN_SECONDS, waiting=print):
            chart.wait_ready(stage.target.kube)
            yield

    return turn


def decided_seconds(stage: Stage, model: str) -> float:
    """Return when the last decision on a model was made."""
    said = stage.until_phase(model, "Ready")["status"]["lastDecision"]["time"]
    return datetime.fromisoformat(said).timestamp()


def right(reply: Reply, model: str) -> bool:
    return (reply.status, reply.model) == (200, model)


def test_a_killed_leader_is_followed_within_15_s_by_one_that_adopts_its_load_and_reloads_nothing(
    stage: Stage, alone: Alone
) -> None:
    stage.pool(probes("hot", "cold") | models.probe("slow", load_seconds=LOAD_SECONDS), gateway=PATIENT)
    for name in ("hot", "slow", "cold"):
        stage.model(name)
    (pod,) = stage.triton_pods()
    with stage.clients() as pool, ThreadPoolExecutor(1) as thread, alone():
        assert pool.ask("hot").status == 200
        with Trickle(pool, "hot") as trickle:
            slow = thread.submit(pool.ask, "slow")
            stage.until_phase("slow", "Loading")
            host.send(leader.find(stage.target.kube).process, signal.SIGKILL)
            killed_seconds = time.time()
            assert right(pool.ask("cold"), "cold")
            assert not slow.done(), "the load was to be in progress still"
            assert right(slow.result(), "slow")
        followed_seconds = decided_seconds(stage, "cold") - killed_seconds
        print(f"the next leader decided {followed_seconds:.0f} s after the former one was killed")
        assert followed_seconds < FOLLOWED_SECONDS
        assert trickle.wrong == []
        assert loads(stage, pod["metadata"]["name"]).began == {"hot": 1, "slow": 1, "cold": 1}


def test_a_leader_stopped_for_30_s_in_the_middle_of_a_load_and_woken_does_nothing_twice(
    stage: Stage, alone: Alone
) -> None:
    others = ("a", "b", "c", "d")
    stage.pool(of_size("hot", *others) | models.probe("slow", load_seconds=8, memory_mib=TAKES_MIB), gateway=PATIENT)
    for name in ("hot", *others):
        stage.model(name, memory=COUNTS)
    (pod,) = stage.triton_pods()
    with stage.clients() as pool, alone():
        assert right(pool.ask("hot"), "hot")
        with Trickle(pool, "hot") as trickle:
            stage.model("slow", copies={"min": 1}, memory=COUNTS)
            stage.until_phase("slow", "Loading")
            with stopped(stage):
                # Memory for three: another one has to evict while the stopped one believes in what it knew.
                assert [right(pool.ask(name), name) for name in others] == [True] * 4
                stage.until_phase("slow", "Ready")
            asked = ["slow", *others]
            assert [right(pool.ask(name), name) for name in asked] == [True] * len(asked)
        assert trickle.wrong == []
        found = loads(stage, pod["metadata"]["name"])
        assert (found.twice, found.began["slow"]) == ([], 1)
        assert found.most == ROOM


def of_size(*names: str) -> dict[str, str]:
    """Return probes that take so much."""
    return {path: text for name in names for path, text in models.probe(name, memory_mib=TAKES_MIB).items()}


@contextlib.contextmanager
def stopped(stage: Stage) -> Iterator[None]:
    """Within, the leader does not run; after half a minute at least it does again."""
    kube = stage.target.kube
    former = leader.find(kube)
    host.send(former.process, signal.SIGSTOP)
    wakes_seconds = time.monotonic() + STOPPED_SECONDS
    try:
        yield
        time.sleep(max(0.0, wakes_seconds - time.monotonic()))
    finally:
        host.send(former.process, signal.SIGCONT)
    chart.wait_ready(kube)


def test_a_leader_killed_while_a_pod_retires_is_followed_by_one_that_lets_the_same_pod_go(
    stage: Stage, alone: Alone
) -> None:
    names = ("m", "n")
    files = {path: text for name in names for path, text in models.probe(name, load_seconds=4).items()}
    stage.pool(files, pods={"fixed": 2}, gateway=PATIENT)
    for name in names:
        stage.model(name)
    with stage.clients() as pool, ThreadPoolExecutor(2) as threads:
        held = dict(zip(names, (reply.pod for reply in threads.map(pool.ask, names)), strict=True))
        assert len(set(held.values())) == 2, held
        with alone(), Trickle(pool, *names) as trickle:
            stage.kubectl("scale", "modelpool", POOL, "--replicas=1")
            pods = stage.kube.until_all("Pod", lambda pods: retiring(pods) != set(), GOES_SECONDS, "a pod retires")
            (chosen,) = retiring(pods)
            host.send(leader.find(stage.target.kube).process, signal.SIGKILL)
            stage.kube.until("Pod", chosen, lambda pod: pod is None, GOES_SECONDS, f"{chosen} is gone")
        assert trickle.wrong == []
    (kept,) = stage.triton_pods()
    assert kept["metadata"]["name"] in held.values()
    assert served(kept) == set(names)
    assert loads(stage, kept["metadata"]["name"]).began == {"m": 1, "n": 1}


def retiring(pods: Mapping[str, Manifest]) -> set[str]:
    """Return the pods that carry the mark of one that goes."""
    return {name for name, pod in pods.items() if RETIREMENT_ANNOTATION in pod["metadata"].get("annotations", {})}
