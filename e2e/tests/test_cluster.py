"""The machine's own cluster through everything that may happen to it, in a folder and network namespace of its own.

The cluster that is kept is not touched. One story, for a cluster that comes up is what each part begins with.
"""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from e2e import trial
from e2e.cluster.settings import from_environment
from e2e.target import is_given
from e2e.trial import Trial

pytestmark = pytest.mark.skipif(
    is_given(from_environment(), os.environ), reason="KUBECONFIG names a cluster, which is not this machine's to kill"
)
STEPS_OF_UP = ("Starting the control plane", "Loading images", "Starting the node", "Starting DNS")
STEPS_OF_DOWN = ("Ending the control plane", "Ending containers", "Removing mounts")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Trial]:
    with trial.trial() as made:
        yield made


def brought_up(cluster: Trial, *options: str) -> float:
    """Bring it up and return the seconds that took."""
    began = time.monotonic()
    cluster.command("up", "--bare", *options)
    assert cluster.is_up()
    return time.monotonic() - began


def test_up_goes_on_where_it_was_interrupted_and_down_leaves_nothing(cluster: Trial) -> None:
    before = cluster.traces()
    for number, step in enumerate(STEPS_OF_UP):
        cluster.interrupt(["up", "--bare"], step, SIGNALS[number % 2])
    print(f"after {len(STEPS_OF_UP)} interruptions `up` took {brought_up(cluster):.1f} s")
    print(f"a second `up` took {brought_up(cluster):.1f} s")
    during = cluster.traces()
    assert during.processes
    assert during.mounts
    for number, step in enumerate(STEPS_OF_DOWN):
        cluster.interrupt(["down"], step, SIGNALS[number % 2])
    cluster.command("down")
    assert cluster.traces() == before


def test_it_comes_up_after_everything_of_it_was_killed(cluster: Trial) -> None:
    before = cluster.traces()
    print(f"`up` from what `down` leaves took {brought_up(cluster):.1f} s")
    cluster.kill_everything()
    assert not cluster.is_up()
    print(f"`up` after SIGKILL of everything took {brought_up(cluster):.1f} s")
    cluster.kill_everything()
    cluster.command("down")
    assert cluster.traces() == before


def test_a_second_node_joins_is_lost_and_comes_back_and_down_leaves_nothing(cluster: Trial) -> None:
    before = cluster.traces()
    print(f"`up` with one node took {brought_up(cluster):.1f} s")
    pods = cluster.pod_namespaces()
    print(f"a second node took {brought_up(cluster, '--nodes', '2'):.1f} s")
    assert cluster.pod_namespaces() == pods, "the pods of the first node were left alone"
    cluster.command("lose", "node2")
    assert not cluster.is_up()
    brought_up(cluster)
    cluster.kill_everything()
    print(f"`up` of both after SIGKILL of everything took {brought_up(cluster):.1f} s")
    cluster.command("down")
    assert cluster.traces() == before


def test_no_pod_reaches_an_address_outside_of_the_machine(cluster: Trial) -> None:
    brought_up(cluster)
    (pod,) = cluster.pod_namespaces()
    with trial.outside(cluster.space):
        assert "refused" in (trial.refusal(pod) or "")
        # It is our rules that hold it back: without them the same pod gets through, and `up` brings them back.
        cluster.space.run("nft", "delete", "table", "inet", "larder")
        assert trial.refusal(pod) is None
        brought_up(cluster)
        assert "refused" in (trial.refusal(pod) or "")
