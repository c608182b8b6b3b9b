"""Fetching ahead answers for what became of it: trust, the price of load slots, the chance of a first request."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larder.core.forecast import Forecaster
from larder.core.slots import ColdLoads, mean_wait
from larder.core.trust import FetchRecord


def fetch(record: FetchRecord, used_after: float | None, asked: dict[str, float] | None = None) -> None:
    record.fetched("m", 0.01, 0.0, 5.0, {"victim": 0.001})
    at = 100.0 if used_after is None else used_after
    record.judge("m", at, used_after is not None, asked or {})


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
    record.judge("m", 1e6, False, {})
    assert record.trust > 0.75


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
