"""The condition Autoscaling says who chooses the number of pods and why it is what it is."""

import pytest

from larder.api.conditions import to_manifest
from larder.core.plan import Reason
from larder.core.snapshot import Retirement
from larder.runtime.books import Books, PodBook
from larder.runtime.pods import parse_pod
from larder.runtime.scaling_status import autoscaling, remembered_scaling, remembered_start
from tests.runtime import builders
from tests.runtime.stage import pod_manifest


@pytest.mark.parametrize(
    ("spec", "asked", "told"),
    [
        ({"pods": {"fixed": 2}}, 2, (False, "FixedByUser", "spec.pods.fixed sets 2 pods")),
        ({"mode": "Advise"}, 1, (False, "AdviseOnly", "it would ask for 3 pods")),
        ({"pods": {"min": 0, "max": 2}}, 0, (True, "NoPods", "the first request starts one")),
        ({"pods": {"max": 2}}, 2, (True, "AtMaximum", "2 pods are the most that spec.pods.max allows: demand")),
        ({"pods": {"max": 3}}, 2, (True, "AsExpected", "demand")),
        ({}, 1, (True, "AsExpected", "demand")),
    ],
)
def test_the_condition_tells_who_chooses_and_why(spec, asked, told):
    found = autoscaling(builders.pool(**spec), Books(last_scaling="demand", desired_pods=3), asked)
    assert (found.status, found.reason) == told[:2]
    assert told[2] in found.message


def test_a_pod_that_is_to_go_is_named():
    book = PodBook(parse_pod(pod_manifest("t0", "triton", "triton", "10.0.0.1")))
    book.retirement = Retirement(Reason.POOL_SCALE_DOWN, 0.0)
    found = autoscaling(builders.pool(), Books({"t0": book}), 2)
    assert (found.reason, found.message) == ("PodRetires", "t0 is to go once its models are elsewhere")


def test_a_new_leader_remembers_why_the_number_was_changed_and_how_long_a_pod_takes_to_start():
    said = autoscaling(builders.pool(), Books(last_scaling="demand; from 1 to 2 pods"), 1)
    status = {"conditions": [{**to_manifest(said)}], "podStartSeconds": 4.2}
    assert remembered_scaling(status) == "demand; from 1 to 2 pods"
    start = remembered_start(status, 7.0)
    assert start is not None and (start.mean, start.at_seconds) == (4.2, 7.0)
    assert remembered_start({}, 7.0) is None and remembered_scaling({}) == ""
