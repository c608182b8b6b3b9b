import asyncio

from larder.api.names import MODEL_PLURAL
from larder.runtime.books import LoadFailure
from tests.runtime.stage import FakeModel, Stage


async def test_waiting_requests_hear_tritons_own_reason():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a")
        await stage.triton(a=FakeModel(fails="no weights in a"))
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await gateway.until(lambda g: g.failures)
        told = gateway.failures[0]
        assert told.model == "a" and "no weights in a" in told.message and 0 < told.retry_after_seconds <= 1
        await stage.phase("a", "Failed")
        status, reason, message = stage.condition("a", "Loaded")
        assert (status, reason) == ("False", "LoadFailed") and "no weights in a" in message
        await stage.kube.until(lambda _: [r for r, _ in stage.events("Load", "a")] == ["ColdRequest", "LoadFailed"])


async def test_a_model_that_is_not_in_the_repository_fails_by_name():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("ghost", copies={"min": 1})
        await stage.triton()
        await stage.start()
        await stage.phase("ghost", "Failed")
        assert "ghost" in stage.condition("ghost", "Loaded")[2]


def test_pauses_grow_from_a_second_to_five_minutes():
    failures = [LoadFailure("no", 100.0, attempts, ("uid", 1)) for attempts in (1, 2, 3, 8, 9, 10, 50)]
    assert [f.retry_at_seconds - 100 for f in failures] == [1, 2, 4, 128, 256, 300, 300]


async def test_a_failed_load_is_tried_again_after_its_pause():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(fails="not yet"))
        await stage.start()
        await triton.until(lambda t: len(t.named("load")) == 1)
        triton.models["a"].fails = ""
        await stage.routable("t0", "a")
        await stage.phase("a", "Ready")
        assert stage.condition("a", "Loaded")[0] == "True"


async def test_a_changed_model_is_tried_at_once():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(fails="wrong"))
        gateway = await stage.gateway()
        await stage.start()
        await stage.phase("a", "Failed")
        for book in _books(stage).models.values():
            _long_pause(book)
        triton.models["a"].fails = ""
        await stage.kube.edit(MODEL_PLURAL, "a", lambda m: m["spec"].update(revision="2"))
        await stage.routable("t0", "a")
        await gateway.until(lambda g: g.failures and g.failures[-1].retry_after_seconds == 0)


async def test_the_failure_of_one_model_never_blocks_another():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        await stage.model("b", copies={"min": 1})
        await stage.triton(a=FakeModel(fails="wrong", load_gate=gate), b=FakeModel())
        await stage.start()
        await stage.routable("t0", "b")
        gate.set()
        await stage.phase("a", "Failed")
        await stage.phase("b", "Ready")


async def test_requests_that_come_during_the_pause_hear_the_reason_too():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a")
        await stage.triton(a=FakeModel(fails="wrong"))
        first, second = await stage.gateway("g0"), await stage.gateway("g1")
        await stage.start()
        await first.ask("a")
        await first.until(lambda g: g.failures)
        second.failures.clear()
        await second.ask("a")
        await second.until(lambda g: g.failures)


async def test_a_load_that_is_given_up_on_stays_loading_until_the_index_tells():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool(loading={"loadTimeout": "50ms"})
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(load_gate=gate))
        await stage.start()
        await triton.until(lambda t: len(t.named("index")) > 4)
        await stage.phase("a", "Loading")
        assert triton.named("load") == ["a"]
        gate.set()
        await stage.routable("t0", "a")
        assert triton.named("load") == ["a"]


async def test_a_load_that_fails_for_memory_is_planned_with_more():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", memory="10Mi", copies={"min": 1})
        await stage.triton(a=FakeModel(fails="CUDA error: out of memory"))
        await stage.start()
        await stage.phase("a", "Failed")
        assert _books(stage).models["a"].least_bytes == 200 * 1024 * 1024


async def test_a_model_larger_than_a_pod_is_never_loaded_and_both_numbers_are_said():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("huge", memory="1Gi", copies={"min": 1})
        triton = await stage.triton(huge=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("huge")
        await gateway.until(lambda g: g.failures)
        assert "1Gi" in gateway.failures[0].message
        await stage.kube.until(lambda _: (stage.condition("huge", "Fits") or " ")[0] == "False")
        message = stage.condition("huge", "Fits")[2]
        assert "1Gi" in message and "200Mi" in message
        assert triton.named("load") == [] and stage.status("huge")["phase"] == "Pending"


async def test_a_load_that_was_lost_with_the_connection_is_done_again_at_once_and_is_no_failure():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a")
        triton = await stage.triton(a=FakeModel(lost_loads=2))
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await stage.routable("t0", "a")
        assert triton.named("load") == ["a"] * 3 and gateway.failures == []
        await stage.kube.until(lambda _: "LoadLost" in [reason for reason, _ in stage.events("Load", "a")])


async def test_three_loads_in_a_row_that_were_lost_are_a_failure():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        await stage.triton(a=FakeModel(lost_loads=3))
        await stage.start()
        await stage.phase("a", "Failed")
        assert "3 loads in a row were lost" in stage.condition("a", "Loaded")[2]
        await stage.routable("t0", "a")


async def test_a_model_that_its_triton_dies_of_is_a_failure_after_three_times():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(load_gate=asyncio.Event()))
        await stage.start()
        for times in (1, 2, 3):
            await triton.until(lambda t, n=times: len(t.named("load")) == n and t.models["a"].state == "LOADING")
            await stage.restart_container()
        await stage.phase("a", "Failed")
        assert "the container ended while it loaded a" in stage.condition("a", "Loaded")[2]


async def test_nobody_is_promised_that_a_model_that_does_not_fit_will_be_loaded():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("huge", memory="1Gi")
        await stage.start()
        await stage.phase("huge", "Pending")
        for condition in stage.status("huge")["conditions"]:
            assert "first request" not in condition["message"]
        status, reason, message = stage.condition("huge", "Ready")
        assert (status, reason) == ("False", "OverBudget") and "1Gi" in message and "200Mi" in message


async def test_an_unload_that_does_not_end_makes_the_pod_leak_until_it_does():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool(loading={"unloadTimeout": "50ms"})
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(unload_gate=gate), b=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        await stage.kube.remove("models", "a")
        await stage.kube.until(lambda _: (stage.condition("pool", "PodsHealthy", "modelpools") or "  ")[1] == "Leaking")
        await stage.model("b", copies={"min": 1})
        await stage.kube.until(lambda _: stage.status("b"))
        assert triton.named("load") == ["a"]
        gate.set()
        await stage.routable("t0", "b")


def _books(stage):
    (running,) = stage.operator._running.values()
    return running.runner.state.books


def _long_pause(book):
    book.failure = LoadFailure(book.failure.message, book.failure.at_seconds, 20, book.failure.spec)
