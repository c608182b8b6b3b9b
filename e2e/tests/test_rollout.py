"""A rollout of several pods under load: what is worth most is on the new pods before an old one goes."""

from collections.abc import Mapping

import pytest

from e2e.kube import Manifest, is_ready
from e2e.served import served
from e2e.tests.stage import Stage, probes
from e2e.tests.trickle import Trickle
from larder.api.names import COMPONENT_LABEL, TRITON

pytestmark = pytest.mark.timeout(200)

ROLLED_SECONDS = 120.0
HOT = ("h1", "h2", "h3")
RARE = ("r1", "r2", "r3")
ENOUGH = 100
"""So many right answers tell what is asked for most."""


class Going:
    """Watches pods, and notes what the ready pods that stay served when one of these was seen to go first."""

    def __init__(self, old: set[str]) -> None:
        self.old = old
        self.served_when: dict[str, frozenset[str]] = {}

    def all_gone(self, pods: Mapping[str, Manifest]) -> bool:
        """Take the present pods; return whether none of the old ones is left."""
        new = [pod for name, pod in pods.items() if name not in self.old and is_triton(pod) and is_ready(pod)]
        for name in self.old - set(self.served_when):
            if name not in pods or "deletionTimestamp" in pods[name]["metadata"]:
                self.served_when[name] = frozenset().union(*(served(pod) for pod in new))
        return not self.old & set(pods)


def is_triton(pod: Manifest) -> bool:
    return bool(pod["metadata"]["labels"].get(COMPONENT_LABEL) == TRITON)


def test_new_pods_have_what_is_worth_most_before_old_ones_go_and_nothing_is_lost(stage: Stage) -> None:
    stage.pool(probes(*HOT, *RARE), pods={"fixed": 2})
    for name in (*HOT, *RARE):
        stage.model(name)
    stage.kube.until("ModelPool", "pool", has_two_pods, ROLLED_SECONDS, "two pods are ready")
    with stage.clients() as pool:
        assert [pool.ask(name).status for name in (*RARE, *HOT)] == [200] * 6
        with Trickle(pool, *HOT) as trickle, Trickle(pool, *HOT) as other:
            trickle.until_right(ENOUGH)
            going = Going({pod["metadata"]["name"] for pod in stage.triton_pods()})
            stage.kube.patch("ModelPool", "pool", {"spec": {"template": {"env": [{"name": "ROLLED", "value": "out"}]}}})
            stage.kube.until_all("Pod", going.all_gone, ROLLED_SECONDS, "the old pods are gone")
        assert (trickle.wrong, other.wrong) == ([], [])
        first, last = going.served_when.values()
        assert first >= set(HOT)
        assert last == {*HOT, *RARE}
        assert [pool.ask(name).status for name in RARE] == [200] * 3


def has_two_pods(item: Manifest | None) -> bool:
    return ((item or {}).get("status") or {}).get("readyPods") == 2
