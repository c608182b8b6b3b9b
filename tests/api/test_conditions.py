"""Conditions keep the time of their last change of status, and survive the API server."""

from hypothesis import given
from hypothesis import strategies as st

from larder.api.conditions import Condition, ConditionReason, ModelCondition, from_status, merge, to_manifest

NEW = Condition(ModelCondition.FITS, False, ConditionReason.OVER_BUDGET, "5Gi of 4Gi", 7)
CONDITIONS = st.builds(
    Condition,
    type=st.sampled_from([str(kind) for kind in ModelCondition]),
    status=st.sampled_from([True, False, None]),
    reason=st.just("AsExpected"),
    message=st.text(max_size=9),
    observed_generation=st.integers(0, 99),
    last_transition_seconds=st.integers(0, 2**31).map(float),
)


def test_the_time_of_a_condition_is_when_its_status_changed_last() -> None:
    first = merge((), (NEW,), 100.0)
    assert first[0].last_transition_seconds == 100.0
    reworded = Condition(ModelCondition.FITS, False, ConditionReason.OVER_BUDGET, "6Gi of 4Gi", 8)
    second = merge(first, (reworded,), 200.0)
    assert (second[0].message, second[0].last_transition_seconds) == ("6Gi of 4Gi", 100.0)
    third = merge(second, (Condition(ModelCondition.FITS, True, ConditionReason.AS_EXPECTED),), 300.0)
    assert third[0].last_transition_seconds == 300.0


def test_a_condition_that_is_no_longer_stated_goes() -> None:
    assert merge((NEW,), (), 1.0) == ()


@given(st.lists(CONDITIONS, max_size=4))
def test_conditions_survive_being_written_and_read(conditions: list[Condition]) -> None:
    assert from_status({"conditions": [to_manifest(one) for one in conditions]}) == tuple(conditions)


def test_conditions_that_cannot_be_read_are_taken_for_absent() -> None:
    good = to_manifest(NEW)
    broken = [
        None,
        {},
        {**good, "lastTransitionTime": "soon"},
        {**good, "observedGeneration": "x"},
        {**good, "status": []},
    ]
    assert from_status({"conditions": [*broken, good]})[-1].type == ModelCondition.FITS
    assert from_status({}) == from_status({"conditions": "none"}) == ()


def test_a_message_longer_than_the_api_server_takes_is_cut() -> None:
    assert len(to_manifest(Condition("Loaded", False, "LoadFailed", "x" * 5000))["message"]) == 1024
