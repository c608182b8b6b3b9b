import asyncio

from larder.api.names import MODEL_PLURAL, RESIDENCY_ANNOTATION
from larder.api.residency import decode
from tests.runtime.stage import FakeModel, Stage


async def revise(stage, name, revision):
    await stage.kube.edit(MODEL_PLURAL, name, lambda m: m["spec"].update(revision=revision))


async def test_a_new_revision_is_loaded_in_place_where_both_fit_and_routing_never_stops():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        triton.models["a"].changed = True
        await revise(stage, "a", "2")
        await stage.kube.until(lambda _: stage.residency().models["a"].revision == "2")
        assert triton.named("load") == ["a", "a"] and triton.named("unload") == []
        assert all("a" in r.routable for r in _published(stage)[1:])


async def test_a_new_revision_leaves_first_where_both_do_not_fit():
    async with Stage() as stage:
        await stage.pool(memory={"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100})
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        await revise(stage, "a", "2")
        await stage.kube.until(lambda _: (m := stage.residency().models.get("a")) is not None and m.revision == "2")
        assert [call for call in triton.calls if call[0] in ("load", "unload")] == [
            ("load", "a"),
            ("unload", "a"),
            ("load", "a"),
        ]


async def test_where_no_file_changed_a_new_revision_is_loaded_anew_all_the_same():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        await revise(stage, "a", "2")
        await stage.kube.until(lambda _: (m := stage.residency().models.get("a")) is not None and m.revision == "2")
        assert [call for call, _ in triton.calls if call in ("load", "unload")] == ["load", "load", "unload", "load"]


async def test_a_new_revision_that_is_larger_comes_in_place_only_where_its_own_size_fits_as_well():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", memory="80Mi", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        triton.models["a"].changed = True
        await stage.kube.edit(MODEL_PLURAL, "a", lambda m: m["spec"].update(revision="2", memory="150Mi"))
        await stage.kube.until(lambda _: (m := stage.residency().models.get("a")) is not None and m.revision == "2")
        assert [call for call, _ in triton.calls if call in ("load", "unload")] == ["load", "unload", "load"]


async def test_a_reload_that_outlasts_its_timeout_is_waited_for_and_both_copies_count_until_it_ends():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool(loading={"loadTimeout": "200ms"})
        await stage.model("a", copies={"min": 1})
        await stage.model("b")
        triton, gateway = await stage.triton(a=FakeModel(), b=FakeModel()), await stage.gateway()
        await stage.start()
        await stage.routable("t0", "a")
        triton.models["a"].changed, triton.models["a"].load_gate = True, gate
        await revise(stage, "a", "2")
        await triton.until(lambda t: t.named("load").count("a") == 2)
        await gateway.ask("b")
        await triton.until(lambda t: t.named("load").count("a") == 3)
        assert "b" not in triton.named("load") and stage.residency().models["a"].revision == ""
        gate.set()
        await stage.kube.until(lambda _: stage.residency().models["a"].revision == "2")
        await stage.routable("t0", "a", "b")


async def test_a_member_is_not_loaded_for_itself_while_it_leaves_with_its_ensemble():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool()
        await stage.model("left", memory="20Mi")
        await stage.model("pair", memory="10Mi", copies={"min": 1})
        triton = await stage.triton(pair=FakeModel(members=("left",)), left=FakeModel(unload_gate=gate))
        gateway = await stage.gateway()
        await stage.start()
        await stage.routable("t0", "pair")
        await stage.kube.remove("models", "pair")
        await triton.until(lambda t: t.models["left"].state == "UNLOADING")
        asked = len(triton.named("index"))
        await gateway.ask("left")
        await triton.until(lambda t: len(t.named("index")) > asked + 20)
        assert triton.named("load") == ["pair"]
        gate.set()
        await stage.routable("t0", "left")


async def test_a_failed_reload_keeps_what_serves_and_says_so():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        triton.models["a"].fails, triton.models["a"].changed = "the new one is broken", True
        await revise(stage, "a", "2")
        await stage.kube.until(lambda _: (stage.condition("a", "Loaded") or "  ")[1] == "ReloadFailed")
        assert "the new one is broken" in stage.condition("a", "Loaded")[2]
        assert stage.status("a")["phase"] == "Ready" and stage.residency().routable == {"a"}
        assert stage.residency().models["a"].revision == ""


async def test_an_ensemble_whose_members_are_not_declared_is_refused_by_their_names():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("pair", memory="10Mi", copies={"min": 1})
        triton = await stage.triton(pair=FakeModel(members=("left", "right")))
        gateway = await stage.gateway()
        await stage.start()
        await stage.phase("pair", "Failed")
        condition = stage.condition("pair", "MembersDeclared")
        assert condition[:2] == ("False", "MembersMissing") and "left, right" in condition[2]
        await triton.until(lambda t: set(t.named("unload")) == {"pair", "left", "right"})
        assert "pair" not in gateway.routable("uid-of-t0")


async def test_an_ensemble_is_loaded_once_its_members_are_declared_and_counts_with_them():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("pair", memory="10Mi", copies={"min": 1})
        triton = await stage.triton(pair=FakeModel(members=("left", "right")), left=FakeModel(), right=FakeModel())
        await stage.start()
        await stage.phase("pair", "Failed")
        await stage.model("left", memory="20Mi")
        await stage.model("right", memory="30Mi")
        await stage.routable("t0", "pair")
        await stage.kube.until(lambda _: stage.status("pool", "modelpools").get("memoryUsed") == "60Mi")
        assert triton.named("load")[-1] == "pair"


async def test_an_ensemble_that_fits_no_pod_with_its_members_is_unloaded_and_no_other_model_leaves_for_it():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("other", memory="100Mi", copies={"min": 1})
        await stage.model("big", memory="10Gi")
        await stage.model("pair", memory="10Mi")
        triton = await stage.triton(other=FakeModel(), pair=FakeModel(members=("big",)), big=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await stage.routable("t0", "other")
        await gateway.ask("pair")
        await stage.kube.until(lambda _: (stage.condition("pair", "Fits") or " ")[0] == "False")
        await triton.until(lambda t: set(t.named("unload")) == {"pair", "big"})
        await gateway.until(lambda g: g.failures)
        assert "200Mi" in gateway.failures[-1].message
        await stage.phase("pair", "Pending")
        message = stage.condition("pair", "Fits")[2]
        assert "200Mi" in message and "10747904000 bytes" in message
        assert stage.residency().routable == {"other"} and triton.named("load") == ["other", "pair"]


async def test_an_ensemble_whose_members_are_told_late_is_no_model_without_members():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("pair", memory="10Mi", copies={"min": 1})
        triton = await stage.triton(pair=FakeModel(members=("left",), silent_configs=3))
        await stage.start()
        await stage.phase("pair", "Failed")
        assert "left" in stage.condition("pair", "MembersDeclared")[2]
        assert triton.named("config") == ["pair"] * 4


async def test_an_adopted_ensemble_is_asked_again_for_its_members():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("left", memory="20Mi")
        await stage.model("pair", memory="10Mi", copies={"min": 1})
        triton = await stage.triton(pair=FakeModel(members=("left",)), left=FakeModel())
        await stage.start()
        await stage.routable("t0", "pair")
        await stage.stop()
        triton.models["pair"].silent_configs = 2
        await stage.start()
        await stage.kube.until(lambda _: stage.condition("pair", "MembersDeclared"))
        await triton.until(lambda t: t.models["pair"].silent_configs == 0)
        await stage.kube.until(lambda _: stage.status("pool", "modelpools").get("memoryUsed") == "30Mi")


async def test_an_ensemble_leaves_with_its_members():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("left", memory="20Mi")
        await stage.model("pair", memory="10Mi", copies={"min": 1})
        triton = await stage.triton(pair=FakeModel(members=("left",)), left=FakeModel())
        await stage.start()
        await stage.routable("t0", "pair")
        await stage.kube.remove("models", "pair")
        await triton.until(lambda t: t.named("unload") == ["pair", "left"])
        await stage.routable("t0")


async def test_a_stuck_unload_of_one_model_does_not_hold_up_another():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        await stage.model("b", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(unload_gate=gate), b=FakeModel())
        await stage.start()
        await stage.routable("t0", "a", "b")
        await stage.kube.remove("models", "a")
        await stage.kube.remove("models", "b")
        await triton.until(lambda t: t.models["b"].state == "UNAVAILABLE")
        assert triton.models["a"].state == "UNLOADING"
        gate.set()


def _published(stage):
    texts = [
        m["metadata"].get("annotations", {}).get(RESIDENCY_ANNOTATION)
        for _, _, k, m in stage.kube.history
        if k == "pods"
    ]
    return [decode(text) for text in dict.fromkeys(texts) if text]
