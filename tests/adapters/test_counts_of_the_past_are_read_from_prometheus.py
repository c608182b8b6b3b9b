import asyncio
import math
from dataclasses import replace

import pytest

from larder.adapters.prometheus import Prometheus
from larder.adapters.prometheus_reads import Reader, Source, decode
from larder.errors import MetricsError
from tests.adapters.fake_prometheus import FakePrometheus
from tests.adapters.fake_prometheus import FakePromSeries as Series

END = 1_800_000_000 // 60 * 60
"""The end of the last whole minute by the fake's clock."""
NOW = END + 17.0


def minutes(*values, first=0):
    """Samples scraped at the ends of minutes, the last of them at END; None: the scrape is missing."""
    count = len(values)
    return {END - 60 * (count - 1 - n): value for n, value in enumerate(values) if n >= first and value is not None}


async def read(server, asked):
    return await asyncio.to_thread(lambda: Reader(Source(server.url), "tests", "pool").history(asked))


async def history(*series, asked=4):
    async with FakePrometheus(series, now=NOW) as server:
        return await read(server, asked)


async def counted(*series, model="a", asked=4):
    found = await history(*series, asked=asked)
    return found.counts[:, found.models.index(model)].tolist(), found.known.tolist()


async def test_counters_become_counts_by_minute():
    series = Series(minutes(10, 12, 12, 20, 21), model="a")
    assert await counted(series) == ([2, 0, 8, 1], [True] * 4)


async def test_a_counter_that_begins_anew_counts_from_there():
    series = Series(minutes(100, 110, 3, 4, 4), model="a")
    assert (await counted(series))[0] == [10, 3, 1, 0]


async def test_minutes_without_a_scrape_are_unknown_and_what_came_meanwhile_counts_after_them():
    series = Series(minutes(10, None, None, 16, 17), model="a")
    assert await counted(series) == ([0, 0, 6, 1], [False, False, False, True])


async def test_a_model_first_asked_for_counts_where_its_gateway_was_scraped_before():
    others = Series(minutes(5, 5, 5, 5, 5), model="other")
    first = Series(minutes(0, 0, 0, 2, 2, first=3), model="a")
    assert (await counted(others, first))[0] == [0, 0, 2, 0]


async def test_a_gateway_that_appears_with_a_past_adds_none_of_it():
    known = Series(minutes(5, 6, 7, 8, 9), model="a")
    strange = Series(minutes(0, 0, 0, 4000, 4001, first=3), model="a", instance="10.0.0.2:9102", pod="pool-gateway-1-b")
    assert (await counted(known, strange))[0] == [1, 1, 1, 2]


async def test_gateways_are_summed_up():
    one = Series(minutes(5, 6, 7, 8, 9), model="a")
    other = Series(minutes(0, 10, 10, 10, 10), model="a", instance="10.0.0.2:9102")
    assert (await counted(one, other))[0] == [11, 1, 1, 1]


async def test_half_the_series_are_counted_as_far_as_they_are_there():
    one = Series(minutes(5, 6, 7, 8, 9), model="a")
    other = Series(minutes(0, 10, None, None, None), model="a", instance="10.0.0.2:9102")
    assert await counted(one, other) == ([11, 1, 1, 1], [True] * 4)


async def test_what_is_not_a_number_is_no_sample():
    series = Series(minutes(5, math.nan, 7, math.inf, 9), model="a")
    assert await counted(series) == ([0, 2, 0, 2], [False] * 4)


async def test_a_leap_of_a_counter_is_bounded():
    series = Series(minutes(5, 10**9, 10**9, 10**9, 10**9), model="a")
    assert (await counted(series))[0] == [65535, 0, 0, 0]


async def test_long_histories_are_asked_for_in_parts_that_fit_together():
    series = Series(minutes(*range(0, 121)), model="a")
    found = await history(series, asked=120)
    assert found.counts[:, 0].tolist() == [1] * 120
    assert found.known.all()


async def test_a_series_that_was_scraped_twice_counts_once_and_the_pool_is_told_apart_by_the_selector():
    async with FakePrometheus([Series(minutes(1, 2), model="a")], now=NOW) as server:
        await read(server, 1)
        asked = server.queries[-1]
    assert "max without (job,endpoint,service" in asked
    assert 'namespace="tests",pod=~"pool-gateway-[a-z0-9]+-[a-z0-9]+"' in asked


async def test_a_history_is_read_by_a_process_of_its_own_and_so_is_what_went_wrong():
    async with FakePrometheus([Series(minutes(10, 12, 12, 20, 21), model="a")], token="secret", now=NOW) as server:
        found = await Prometheus(Source(server.url, token="secret")).history("tests", "pool", 4)
        assert (found.models, found.counts[:, 0].tolist(), found.known.all()) == (("a",), [2, 0, 8, 1], True)
        with pytest.raises(MetricsError, match="401") as caught:
            await Prometheus(Source(server.url)).history("tests", "pool", 4)
        assert caught.value.reason == "Unauthorized"


async def test_nobody_asked_for_anything():
    found = await history()
    assert found.models == ()
    assert not found.known.any()
    assert found.counts.shape == (4, 0)


async def test_the_age_of_the_newest_sample_is_by_the_clock_of_prometheus():
    async with FakePrometheus([Series({1000.0: 3}, model="a")], now=1042.5) as server:
        assert await Prometheus(Source(server.url)).age_seconds("tests", "pool") == 42.5


async def reason(server, **changes):
    with pytest.raises(MetricsError) as caught:
        await Prometheus(replace(Source(server.url), **changes)).age_seconds("tests", "pool")
    return str(caught.value.reason), str(caught.value)


async def test_no_data_is_not_the_age_of_nothing():
    async with FakePrometheus() as server:
        found, text = await reason(server)
        assert found == "NoData"
        assert "it must scrape them" in text


async def test_who_is_not_allowed_to_ask_is_told_so_and_a_token_helps():
    async with FakePrometheus([Series({1000.0: 3}, model="a")], token="secret", now=1001.0) as server:
        assert (await reason(server))[0] == "Unauthorized"
        assert (await reason(server, token="wrong"))[0] == "Unauthorized"
        assert await Prometheus(Source(server.url, token="secret")).age_seconds("tests", "pool") == 1.0


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, "<html>log in</html>"),
        (200, "{}"),
        (200, '{"data": 3}'),
        (200, '{"data": {"result": "x"}}'),
        (500, "oops"),
        (200, '{"data": {"result": [{"value": [1]}]}}'),
        (200, '{"data": {"result": [{"value": [1, "much"]}]}}'),
    ],
)
async def test_what_is_no_prometheus_is_said_to_be_none(status, text):
    async with FakePrometheus() as server:
        server.answer = (status, text)
        assert (await reason(server))[0] == "BadAnswer"
        with pytest.raises(MetricsError):
            await read(server, 4)


async def test_a_wrong_address_is_unreachable():
    async with FakePrometheus() as server:
        assert (await reason(server, url="http://127.0.0.1:9"))[0] == "Unreachable"
        assert (await reason(server, url="http://nowhere.invalid"))[0] == "Unreachable"


async def test_a_server_that_hangs_is_given_up_on():
    async with FakePrometheus() as server:
        server.hang()
        assert (await reason(server, timeout_seconds=0.05))[0] == "TimedOut"


def test_a_process_that_broke_gives_no_history():
    with pytest.raises(MetricsError, match="could not be read"):
        decode(b"Traceback (most recent call last):\n")
