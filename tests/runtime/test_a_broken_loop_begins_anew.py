from tests.runtime.stage import FakeModel, Stage


def runner(stage):
    (running,) = stage.operator._running.values()
    return running.runner


async def broken():
    raise RuntimeError("nobody foresaw this")


async def test_a_pools_loop_that_broke_begins_anew_and_reloads_nothing():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        runner(stage).state.tasks.spawn(broken(), "a defect")
        await triton.until(lambda t: len(t.named("index")) == 2)
        await stage.model("b", copies={"min": 1})
        triton.models["b"] = FakeModel()
        await stage.routable("t0", "a", "b")
        assert triton.named("load") == ["a", "b"]


async def test_what_was_told_before_the_break_is_never_newer_than_what_is_told_after():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton, gateway = await stage.triton(a=FakeModel()), await stage.gateway()
        await stage.start()
        await stage.routable("t0", "a")
        stage.kube.refuse("PATCH", "pods/t0", 500)
        await stage.kube.remove("models", "a")
        await gateway.until(lambda g: g.routable("uid-of-t0") == frozenset())
        told = max(hint.residency.version for hint in gateway.hints)
        runner(stage).state.tasks.spawn(broken(), "a defect")
        stage.kube.refusals.clear()
        await triton.until(lambda t: t.models["a"].state == "UNAVAILABLE")
        await stage.routable("t0")
        await gateway.until(lambda g: max(h.residency.version for h in g.hints) > told)
        assert gateway.routable("uid-of-t0") == frozenset()


async def test_a_loop_whose_pool_has_gone_goes_on_until_it_is_ended(caplog):
    async with Stage() as stage:
        await stage.pool()
        triton = await stage.triton()
        await stage.start()
        await triton.until(lambda t: t.named("index"))
        stage.operator.pools.clear()
        await stage.restart_container()
        await triton.until(lambda t: len(t.named("index")) == 2)
        assert "broke" not in caplog.text
