"""The operator learns from what became of its own loads, as the simulator does: trust in fetching, price of a slot."""

from dataclasses import replace

from larder.core.plan import Drain, Load, Reason
from larder.runtime.forecasts import Forecasts
from tests.core.builders import model, placed, pod, seconds, snapshot, waiting

NAMES = "abv"
LOAD = Load("a", "p", 10, Reason.FORECAST, "")


class Pool:
    """A forecast that watched two hours, and its clock."""

    def __init__(self):
        self.now = 0.0
        self.forecasts = Forecasts(lambda: self.now)
        self.forecasts.declare(NAMES)
        for minute in range(120):
            self.pass_time(60.0, **({"a": 1} if minute % 10 == 0 else {}))

    def pass_time(self, seconds, **requests):
        self.now += seconds
        self.forecasts.count(requests)
        self.forecasts.advance(lambda _: True)

    def seen(self, *placements, held=()):
        models = [model(name, load_seconds=seconds(2.0)) for name in NAMES]
        bare = snapshot(models, [pod("p", 30)], placements, held)
        self.forecasts.missed(bare.waiting, {p.model for p in placements}.__contains__)
        return replace(bare, appraisal=self.forecasts.expected(bare, self.now).appraisal)

    def worth(self):
        return self.seen().appraisal.fetch[0]

    def fetch(self):
        seen = self.seen(placed("v", "p"))
        self.forecasts.began((Drain("v", "p", Reason.FORECAST, "", "a"),), seen)
        self.now += 3.0
        self.forecasts.began((LOAD,), seen)


def test_a_fetch_that_left_unused_makes_the_next_ones_worth_less():
    pool = Pool()
    before = pool.worth()
    for _ in range(10):
        pool.fetch()
        pool.now += 300.0
        pool.forecasts.began((Drain("a", "p", Reason.MEMORY_PRESSURE, ""),), pool.seen(placed("a", "p")))
    assert 0.0 < pool.worth() < 0.8 * before


def test_a_victim_that_waits_soon_makes_fetching_worth_less():
    worths = []
    for held in ((), (waiting("v"),)):
        pool = Pool()
        for _ in range(5):
            pool.fetch()
            pool.now += 5.0
            pool.seen(placed("a", "p"), held=held)
            pool.now += 5.0
            pool.forecasts.count({"a": 1})
        worths.append(pool.worth())
    assert worths[1] < 0.8 * worths[0]


def test_cold_loads_that_keep_the_slots_busy_make_fetching_worth_less():
    pool = Pool()
    before = pool.worth()
    cold = Load("b", "p", 10, Reason.COLD_REQUEST, "")
    for _ in range(300):
        pool.forecasts.began((cold,), pool.seen(held=[waiting("b", 5)]))
        pool.now += 0.1
    assert pool.worth() < 0.5 * before


def test_a_count_of_the_second_before_a_fetch_says_nothing_of_it():
    pool = Pool()
    pool.fetch()
    pool.now += 0.5
    pool.forecasts.count({"a": 1, "v": 1})
    before = pool.worth()
    pool.now += 0.5
    pool.forecasts.began((Drain("a", "p", Reason.MEMORY_PRESSURE, ""),), pool.seen(placed("a", "p")))
    assert pool.worth() < before
