"""What leaves for a cold request must not be about to cost others more waiting than those who wait have a claim to."""

from dataclasses import replace

import numpy as np
import pytest

from larder.core.cold_desk import ColdDesk
from larder.core.outlook import Outlook, appraise, make_catalog
from larder.core.plan import Drain, Plan
from larder.core.planner import plan
from larder.core.snapshot import Model, Objective, Snapshot
from tests.core.builders import MB, NOW, model, placed, pod, seconds, snapshot, waiting

LOAD_SECONDS = 2.0
DEADLINE = NOW + 300.0


def pool(
    cold: Model, busy: Model | None = None, since: float = NOW, count: int = 1, deadline: float = DEADLINE
) -> Snapshot:
    """`busy`, asked for ten times a second and two seconds to load, fills the only pod; `cold` is waited for."""
    busy = busy or timed("busy")
    held = [waiting("cold", count, since, deadline)]
    bare = snapshot([busy, cold], [pod("p", 10)], [placed("busy", "p")], held)
    catalog = make_catalog(bare.models, MB, 1.0)
    rates = np.array([10.0, 0.0])
    return replace(bare, appraisal=appraise(catalog, Outlook(NOW, rates, rates, rates)))


def timed(name: str, **changes: object) -> Model:
    return model(name, load_seconds=seconds(LOAD_SECONDS), **changes)


def drained(decided: Plan) -> list[str]:
    return [action.model for action in decided.actions if isinstance(action, Drain)]


def test_one_request_does_not_send_away_what_many_are_about_to_ask_for() -> None:
    # A miss of the busy one would make 1 + 10 x 2 / 2 = 11 requests wait for 2 s each.
    decided = plan(pool(timed("cold")), NOW)
    assert drained(decided) == []
    (unplaced,) = decided.unplaced
    assert "about to cost 20 s more of waiting" in unplaced.message
    assert unplaced.again_seconds == pytest.approx(NOW + 20.0)


def test_who_has_waited_as_much_as_others_are_about_to_is_served() -> None:
    cold = timed("cold")
    assert drained(plan(pool(cold, since=NOW - 19.9), NOW)) == []
    assert drained(plan(pool(cold, since=NOW - 20.1), NOW)) == ["busy"]


def test_many_requests_have_their_claim_at_once() -> None:
    assert drained(plan(pool(timed("cold"), count=11), NOW)) == ["busy"]


def test_who_would_be_rejected_by_waiting_does_not_wait() -> None:
    assert drained(plan(pool(timed("cold"), deadline=NOW + 3.0), NOW)) == ["busy"]


def test_a_model_with_an_objective_does_not_wait_for_models_without() -> None:
    assert drained(plan(pool(timed("cold", objective=Objective(0.2))), NOW)) == ["busy"]


def test_what_has_a_lower_priority_goes_at_once() -> None:
    assert drained(plan(pool(timed("cold"), timed("busy", priority=-1)), NOW)) == ["busy"]


def test_without_a_forecast_nobody_waits() -> None:
    assert drained(plan(replace(pool(timed("cold")), appraisal=None), NOW)) == ["busy"]


def test_the_incremental_decision_is_that_of_the_full_plan() -> None:
    for since in (NOW, NOW - 20.1):
        seen = pool(timed("cold"), since=since)
        desk = ColdDesk(replace(seen, waiting={}), NOW)
        assert drained(desk.decide(seen.waiting["cold"], NOW)) == drained(plan(seen, NOW))
