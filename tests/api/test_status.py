"""Status as it is written: within the CRDs' schemas, readable at a glance, and still while nothing happens."""

from typing import Any

import jsonschema
import pytest

from larder.api.conditions import Condition, ConditionReason, ModelCondition, PoolCondition
from larder.api.resources import SLO
from larder.api.status import (
    Decision,
    ModelPoolStatus,
    ModelStatus,
    Phase,
    PlacementStatus,
    derive_phase,
    model_status,
    pool_status,
    steadied,
)
from larder.core.snapshot import PlacementState
from tests.api import builders

DECISION = Decision(1769860800.0, "Load", "ColdRequest", "1 request waits", model="resnet50", pod="vision-triton-a-b")


def check(plural: str, status: dict[str, Any]) -> None:
    schema = builders.without_unknown_fields(builders.schema(plural)["properties"]["status"])
    jsonschema.validate(status, schema, format_checker=jsonschema.FormatChecker())


def placement(pod: str, state: PlacementState = PlacementState.READY) -> PlacementStatus:
    return PlacementStatus(f"vision-triton-{pod}", state, 1769860800.0, "r1")


def test_a_models_status_is_what_its_schema_knows() -> None:
    conditions = (Condition(ModelCondition.READY, True, ConditionReason.AS_EXPECTED, "", 2, 1769860800.0),)
    status = model_status(
        ModelStatus(
            observed_generation=2,
            phase=Phase.READY,
            pool="vision",
            slo=SLO(0.05, 99.0, 2.0),
            placements=(placement("6d-x7"), placement("6d-a1", PlacementState.LOADING)),
            memory_bytes=1500 * 2**20,
            load_seconds=1.4142,
            execution_seconds=0.004567,
            conditions=conditions,
            last_decision=DECISION,
        )
    )
    check("models", status)
    assert (status["copies"], status["pods"], status["slo"]) == (1, "6d-a1,6d-x7", "50ms p99, cold 2s")
    assert (status["loadSeconds"], status["executionSeconds"]) == (1.4, 0.0046)
    assert status["lastDecision"]["time"] == "2026-01-31T12:00:00Z"


def test_a_pools_status_is_what_its_schema_knows() -> None:
    conditions = (Condition(PoolCondition.AUTOSCALING, False, ConditionReason.FIXED_BY_USER),)
    status = pool_status(
        ModelPoolStatus(1, 3, 2, "larder.dev/pool=vision", 5 * 2**30, 8 * 2**30, 4, 9, conditions, DECISION)
    )
    check("modelpools", status)
    assert status["summary"] == {"pods": "2/3", "memory": "5Gi/8Gi", "models": "4/9"}


def test_what_is_not_known_is_left_out_and_never_zero() -> None:
    status = model_status(ModelStatus(1, Phase.COLD, "vision"))
    check("models", status)
    assert not {"memory", "loadSeconds", "executionSeconds", "pods", "slo", "lastDecision"} & set(status)


def test_many_pods_are_counted_rather_than_named() -> None:
    placements = tuple(placement(f"p{index}") for index in range(5))
    assert model_status(ModelStatus(1, Phase.READY, "vision", placements=placements))["pods"] == "p0,p1,p2,+2"


def test_small_changes_of_a_measurement_do_not_change_the_status() -> None:
    first, second = (model_status(ModelStatus(1, Phase.READY, "v", load_seconds=s)) for s in (1.402, 1.431))
    assert first == second


@pytest.mark.parametrize(
    ("states", "circumstances", "phase"),
    [
        ([], {}, Phase.COLD),
        ([], {"blocked": True}, Phase.PENDING),
        ([], {"failed": True}, Phase.FAILED),
        ([PlacementState.LOADING], {"failed": True}, Phase.LOADING),
        ([PlacementState.UNLOADING, PlacementState.READY], {"failed": True}, Phase.READY),
        ([PlacementState.DRAINING], {}, Phase.UNLOADING),
        ([PlacementState.READY], {"conflict": True}, Phase.CONFLICT),
    ],
)
def test_the_phase_says_the_best_of_what_is_true(
    states: list[PlacementState], circumstances: dict[str, bool], phase: Phase
) -> None:
    assert derive_phase(states, **circumstances) is phase


def test_a_measured_time_is_told_anew_once_it_moved_by_more_than_a_quarter() -> None:
    told = {"executionSeconds": 0.01, "phase": "Ready"}
    assert steadied({"executionSeconds": 0.012, "phase": "Cold"}, told) == {"executionSeconds": 0.01, "phase": "Cold"}
    assert steadied({"executionSeconds": 0.013}, told) == {"executionSeconds": 0.013}
    assert steadied({"executionSeconds": 0.013}, {}) == {"executionSeconds": 0.013}
    assert steadied({}, told) == {}
