"""A wall clock that jumps, forward or back, neither ages what was used nor makes anything young."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larder.runtime.steady import CATCH_UP, SteadyTime
from tests.runtime.fake_deployment import FakeDeployment
from tests.runtime.stage import Stage

DAY = 86_400.0


class Hands:
    """Two clocks, moved by hand."""

    def __init__(self):
        self.wall, self.monotonic = 1_800_000_000.0, 50.0

    def pass_by(self, seconds, jump=0.0):
        self.monotonic += seconds
        self.wall += seconds + jump


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(-1e9, 1e9)), max_size=20))
def test_what_passes_is_what_passed_whatever_the_wall_clock_does(steps):
    hands = Hands()
    steady = SteadyTime(lambda: hands.wall, lambda: hands.monotonic)
    for seconds, jump in steps:
        before = steady()
        hands.pass_by(seconds, jump)
        assert abs(steady() - before - seconds) <= CATCH_UP * seconds + 1e-6


def test_a_clock_that_was_a_little_wrong_is_followed():
    hands = Hands()
    steady = SteadyTime(lambda: hands.wall, lambda: hands.monotonic)
    hands.pass_by(1.0, jump=-2.0)
    for _ in range(300):
        hands.pass_by(1.0)
        found = steady()
    assert found == pytest.approx(hands.wall)


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_no_pod_and_no_model_goes_because_the_clock_jumped(jump):
    async with Stage() as stage:
        await stage.pool(pods={"min": 0, "max": 1, "scaleDownAfter": "60s"})
        for name in "ab":
            await stage.model(name)
        gateway = await stage.gateway()
        async with FakeDeployment(stage, "a", "b").playing() as deployment:
            await stage.start()
            await stage.served(gateway, "a")
            for _ in range(90):
                await stage.counted(a=1)
            stage.jumped_seconds = jump
            for _ in range(5):
                await stage.counted()
            await stage.served(gateway, "b")
            assert (stage.status("a")["phase"], deployment.replicas) == ("Ready", 1)
            assert stage.events("Retire") + stage.events("Drain") == []
