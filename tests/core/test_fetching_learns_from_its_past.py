"""Fetching ahead answers for what became of it: trust, the price of load slots, the chance of a first request."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larder.core.experience import Experience
from larder.core.forecast import Forecaster
from larder.core.outlook import Outlook, appraise, make_catalog
from larder.core.plan import Drain, Load, Reason
from larder.core.slots import ColdLoads, mean_wait
from larder.core.snapshot import Objective
from larder.core.trust import FetchRecord
from tests.core.builders import model as declared
from tests.core.builders import seconds


def fetch(record: FetchRecord, used_after: float | None, asked: dict[str, float] | None = None) -> None:
    record.fetched("m", 0.01, 0.0, 5.0, {"victim": 0.001})
    for victim, at in (asked or {}).items():
        record.asked(victim, at)
    if used_after is None:
        record.left("m", 100.0)
    else:
        record.asked("m", used_after)


def test_fetches_that_keep_their_promise_stay_trusted() -> None:
    record = FetchRecord()
    for _ in range(100):
        fetch(record, used_after=100.0)
    assert record.trust == pytest.approx(1.0)


def test_fetches_that_nobody_uses_lose_trust() -> None:
    record = FetchRecord()
    for _ in range(100):
        fetch(record, used_after=None)
    assert record.trust < 0.1


def test_victims_that_are_asked_for_sooner_than_expected_lower_the_trust() -> None:
    record = FetchRecord()
    for _ in range(100):
        fetch(record, used_after=100.0, asked={"victim": 50.0})
    assert record.trust < 0.2


def test_no_fetch_promises_more_than_one_miss() -> None:
    record = FetchRecord()
    record.fetched("m", 1.0, 0.0, 5.0, {})
    record.left("m", 1e6)
    assert record.trust > 0.75


def test_what_was_asked_before_a_fetch_says_nothing_of_it() -> None:
    record = FetchRecord()
    record.fetched("m", 0.01, 10.0, 5.0, {"victim": 0.001})
    record.asked("m", 9.0)
    record.asked("victim", 9.0)
    assert record.open == {"m": 10.0}
    record.asked("m", 110.0)
    assert (record.open, record.trust) == ({}, pytest.approx(1.0))


def test_a_load_that_follows_too_late_answers_for_no_victims() -> None:
    catalog = make_catalog({n: declared(n, load_seconds=seconds(2.0)) for n in "mv"}, 1, 1.0)
    outlook = Outlook(0.0, np.full(2, 0.01), np.full(2, 0.01), np.zeros(2))
    drain = Drain("v", "p", Reason.FORECAST, "", "m")
    load = Load("m", "p", 10, Reason.FORECAST, "")
    for after, victims in ((5.0, ("v",)), (50.0, ())):
        experience = Experience(unload_seconds=30.0)
        experience.began(0.0, [drain], {}, appraise(catalog, outlook))
        experience.began(after, [load], {}, appraise(catalog, outlook))
        assert experience.record.victims("m") == victims


def test_one_server_waits_as_the_textbook_says() -> None:
    # M/M/1 at half load: rho / (1 - rho) services.
    assert mean_wait(1, 0.5, 2.0) == pytest.approx(2.0)


@given(st.integers(1, 50), st.floats(0.01, 100.0), st.floats(0.1, 60.0))
def test_a_slot_fewer_never_shortens_the_wait(slots: int, load: float, hold: float) -> None:
    assert mean_wait(slots, load, hold) >= mean_wait(slots + 1, min(load, 0.98 * slots), hold) >= 0.0


def test_a_slot_costs_nothing_when_nobody_loads_and_more_the_more_do() -> None:
    loads = ColdLoads()
    assert loads.price(0.0, 4) == 0.0
    prices = []
    for n in range(600):
        loads.began(float(n), 5.0, 1)
        prices.append(loads.price(float(n), 8))
    assert prices[-1] > prices[100] > 0.0
    assert loads.price(1e6, 8) == pytest.approx(0.0)


def test_the_chance_of_a_first_request_follows_how_fast_newcomers_come() -> None:
    forecaster = Forecaster(50)
    first = np.zeros(50)
    first[:20] = 1.0
    forecaster.add(first)
    forecaster.close_interval()
    rush = forecaster.chance_within(60.0)[49]
    for _ in range(120):
        forecaster.close_interval()
    assert 0.0 < forecaster.chance_within(60.0)[49] < rush / 10.0


def test_a_miss_that_costs_nothing_has_no_price_and_no_urgency() -> None:
    slow = declared("m", load_seconds=seconds(0.001), objective=Objective(0.2, 99.0, 30.0))
    catalog = make_catalog({"m": slow}, 1, 1.0)
    priced = appraise(catalog, Outlook(0.0, np.full(1, 0.01), np.full(1, 0.01), np.zeros(1)))
    assert priced.cost_of_miss("m") == priced.urgency("m") == 0.0
    assert Experience().fetch_shares(0.0, 4, catalog.load_seconds, priced.miss_cost).tolist() == [0.0]
