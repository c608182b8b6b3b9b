import asyncio
from contextlib import asynccontextmanager

import pytest

from larder.adapters.triton import Execution, IndexEntry, IndexState, TritonControl
from larder.errors import TritonError, UnavailableError
from tests.adapters.fake_counters import FakeCounters
from tests.adapters.fake_triton import KEY, FakeModel, FakeTriton


@asynccontextmanager
async def controlled(key=KEY, **models):
    async with FakeTriton(models) as server:
        control = TritonControl(server.address, key)
        try:
            yield server, control
        finally:
            await control.close()


async def test_a_load_answers_when_the_model_is_ready():
    async with controlled(a=FakeModel()) as (server, control):
        await control.load("a", 5)
        assert server.models["a"].state == "READY"


async def test_the_reason_of_a_failed_load_is_tritons_own():
    async with controlled(a=FakeModel(fails="no weights")) as (_, control):
        with pytest.raises(TritonError, match="no weights") as caught:
            await control.load("a", 5)
        assert caught.value.code == "INVALID_ARGUMENT"


async def test_a_model_that_is_not_in_the_repository_is_an_error_naming_it():
    async with controlled() as (_, control):
        with pytest.raises(TritonError, match="failed to load 'nobody'"):
            await control.load("nobody", 5)


async def test_a_load_that_takes_too_long_is_given_up_on_and_goes_on_in_triton():
    gate = asyncio.Event()
    async with controlled(a=FakeModel(load_gate=gate)) as (server, control):
        with pytest.raises(UnavailableError, match=r"within 0\.05 s"):
            await control.load("a", 0.05)
        assert (await control.index(5))["a"].state is IndexState.LOADING
        gate.set()
        await server.until(lambda s: s.models["a"].state == "READY")


async def test_closing_ends_calls_under_way_with_an_error_and_cancels_nobody():
    gate = asyncio.Event()
    async with controlled(a=FakeModel(load_gate=gate)) as (server, control):
        load = asyncio.create_task(control.load("a", 5))
        await server.until(lambda s: s.named("load") == ["a"])
        await control.close()
        with pytest.raises(UnavailableError, match="closed"):
            await load
        gate.set()


async def test_an_unload_answers_at_once_and_the_index_tells_when_it_ended():
    gate = asyncio.Event()
    async with controlled(a=FakeModel("READY", unload_gate=gate)) as (server, control):
        await control.unload("a", 5)
        assert (await control.index(5))["a"].state is IndexState.UNLOADING
        gate.set()
        await server.until(lambda s: s.models["a"].state == "UNAVAILABLE")
        assert (await control.index(5))["a"] == IndexEntry(IndexState.UNAVAILABLE, "unloaded")


async def test_unloading_what_is_not_there_is_fine():
    async with controlled() as (_, control):
        await control.unload("nobody", 5)


async def test_a_model_that_was_never_loaded_is_left_out_of_the_index():
    async with controlled(a=FakeModel()) as (_, control):
        assert await control.index(5) == {}


async def test_an_ensemble_names_its_members_and_another_model_has_none():
    async with controlled(pair=FakeModel("READY", members=("b", "a")), a=FakeModel("READY")) as (_, control):
        assert await control.members("pair", 5) == ("a", "b")
        assert await control.members("a", 5) == ()


async def test_execution_is_counted_with_its_compute_time():
    async with controlled(a=FakeModel("READY", executed=4, execution_seconds=0.5)) as (_, control):
        assert await control.statistics(5) == {"a": Execution(4, 0, 4, 2.0)}


async def test_a_wrong_key_is_told_apart_from_a_refusal_of_the_model():
    async with controlled("wrong", a=FakeModel()) as (_, control):
        with pytest.raises(UnavailableError, match="restricted"):
            await control.load("a", 5)


async def test_a_server_that_is_away_is_unavailable_and_not_live():
    async with controlled() as (server, control):
        await server._server.stop(0)
        assert not await control.live(1)
        with pytest.raises(UnavailableError, match="away"):
            await control.index(1)


async def test_a_closed_channel_is_unavailable():
    async with controlled() as (_, control):
        await control.close()
        with pytest.raises(UnavailableError):
            await control.index(1)


async def test_models_that_leave_are_counted_until_they_are_gone():
    models = {"a": FakeModel(state="READY"), "b": FakeModel(state="UNLOADING"), "c": FakeModel(state="UNAVAILABLE")}
    async with FakeCounters(models) as shown:
        control = TritonControl("127.0.0.1:1", KEY, shown.address)
        assert await control.counted(5) == {"a", "b"}
        shown.broken = True
        assert await control.counted(5) is None
        await control.close()


async def test_without_metrics_nothing_is_said_of_what_is_counted():
    control = TritonControl("127.0.0.1:1", KEY, "127.0.0.1:1")
    assert await control.counted(5) is None
    await control.close()
