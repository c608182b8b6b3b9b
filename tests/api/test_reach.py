"""A pod whose node is lost is told apart from one that is not ready for a reason of its own."""

import pytest

from larder.api.reach import is_node_lost

GATE = "larder.dev/serving"
EARLIER, LATER = "2026-01-31T12:00:00Z", "2026-01-31T12:00:09Z"


def status(ready: tuple[str, str], containers: tuple[str, str], gate: tuple[str, str]) -> dict[str, object]:
    named = {"Ready": ready, "ContainersReady": containers, GATE: gate}
    return {
        "conditions": [
            {"type": name, "status": holds, "lastTransitionTime": since} for name, (holds, since) in named.items()
        ]
    }


def test_ready_that_turned_false_by_itself_means_a_lost_node() -> None:
    assert is_node_lost(status(("False", LATER), ("True", EARLIER), ("True", EARLIER)), GATE)


@pytest.mark.parametrize(
    ("ready", "containers", "gate"),
    [
        (("True", LATER), ("True", EARLIER), ("True", EARLIER)),
        (("False", LATER), ("False", LATER), ("True", EARLIER)),
        (("False", LATER), ("True", EARLIER), ("False", EARLIER)),
        (("False", EARLIER), ("True", EARLIER), ("True", LATER)),
        (("False", EARLIER), ("True", LATER), ("True", EARLIER)),
    ],
    ids=["ready", "a container is not ready", "not warm yet", "warm a moment ago", "containers ready a moment ago"],
)
def test_a_pod_that_is_not_ready_for_a_reason_of_its_own_is_not_lost(
    ready: tuple[str, str], containers: tuple[str, str], gate: tuple[str, str]
) -> None:
    assert not is_node_lost(status(ready, containers, gate), GATE)


def test_a_pod_that_says_nothing_yet_is_not_lost() -> None:
    assert not is_node_lost({}, GATE)
