import time

from larder.api.names import MODEL_PLURAL
from larder.api.parsing import parse_model
from larder.api.quantities import format_time
from larder.runtime.memory import remembered
from tests.runtime import builders
from tests.runtime.stage import FakeModel, Stage


def failed_model(message="no weights", generation=1, at_seconds=1000.0, **condition):
    told = {
        "type": "Loaded",
        "status": "False",
        "reason": "LoadFailed",
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": format_time(at_seconds - 500),
        **condition,
    }
    decision = {"time": format_time(at_seconds), "action": "Load", "reason": "Demand", "message": "asked for"}
    manifest = builders.model_manifest("a")
    manifest["status"] = {"conditions": [told], "lastDecision": decision}
    return parse_model(manifest)


def test_the_reason_the_number_of_tries_and_the_pause_are_those_of_the_status():
    failure = remembered(failed_model("no weights (tried 4 times)"), 1001.0).failure
    assert (failure.message, failure.attempts) == ("no weights", 4)
    assert failure.retry_at_seconds == 1008.0
    assert failure.spec == ("uid-of-a", 1)


def test_the_failure_of_an_earlier_spec_is_not_remembered():
    assert remembered(failed_model(generation=7), 1001.0).failure is None


def test_a_load_that_succeeded_is_no_failure():
    assert remembered(failed_model(status="True"), 1001.0).failure is None


def test_a_failed_reload_is_remembered_as_one():
    assert remembered(failed_model(reason="ReloadFailed"), 1001.0).failure.reload


async def test_a_failed_model_is_failed_under_the_next_leader_and_not_tried_before_its_pause_ends():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(fails="no weights in a"))
        await stage.start()
        await stage.phase("a", "Failed")
        await stage.stop()
        await stage.kube.edit(MODEL_PLURAL, "a", _tried_often)
        loads = len(triton.named("load"))
        triton.models["a"].fails = ""
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await gateway.until(lambda g: g.failures)
        assert "no weights in a" in gateway.failures[-1].message
        await stage.kube.until(lambda _: len(stage.status("pool", "modelpools").get("conditions", [])) > 0)
        assert stage.status("a")["phase"] == "Failed" and len(triton.named("load")) == loads


async def test_the_members_that_an_ensemble_lacks_are_remembered_and_it_heals_at_once_when_they_come():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("pair", memory="10Mi", copies={"min": 1})
        members = {"left": FakeModel(), "right": FakeModel()}
        triton = await stage.triton(pair=FakeModel(members=("left", "right")), **members)
        await stage.start()
        await stage.phase("pair", "Failed")
        await triton.until(lambda t: all(model.state == "UNAVAILABLE" for model in t.models.values()))
        await stage.stop()
        await stage.kube.edit(MODEL_PLURAL, "pair", _tried_often)
        await stage.start()
        await stage.kube.until(lambda _: stage.status("pool", "modelpools").get("modelsDeclared") == 1)
        assert "left, right" in stage.condition("pair", "MembersDeclared")[2]
        await stage.model("left", memory="20Mi")
        await stage.model("right", memory="30Mi")
        await stage.routable("t0", "pair")


async def test_a_model_that_is_loaded_all_the_same_has_not_failed():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(fails="no weights in a"))
        await stage.start()
        await stage.phase("a", "Failed")
        await stage.stop()
        triton.models["a"].state, triton.models["a"].reason = "READY", ""
        await stage.start()
        await stage.phase("a", "Ready")
        await stage.kube.until(lambda _: stage.condition("a", "Loaded")[0] == "True")


def _tried_often(model):
    for condition in model["status"]["conditions"]:
        if condition["type"] == "Loaded":
            condition["message"] += " (tried 9 times)" if "(tried" not in condition["message"] else ""
    model["status"]["lastDecision"]["time"] = format_time(time.time())
