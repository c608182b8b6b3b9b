"""Memory as measured: a model that outgrows its place, one that gives nothing back, one that never leaves."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from e2e import models
from e2e.kube import Manifest
from e2e.tests.stage import POOL, Stage, probes
from larder.api.quantities import parse_bytes

MIB = 1024 * 1024
PROBE_MIB = (50, 75)
"""What a probe with 40 MiB of its own is measured to take, from and to: a Python process with numpy is the rest."""
MEMORY = {"budget": "300Mi", "base": "40Mi", "defaultModelMemory": "64Mi", "highWatermark": 90, "lowWatermark": 75}


def measured_mib(model: Manifest | None) -> float | None:
    told = ((model or {}).get("status") or {}).get("memory")
    return None if told is None else parse_bytes("status.memory", told) / MIB


def until_measured(stage: Stage, name: str, least_mib: float, most_mib: float) -> None:
    def holds(model: Manifest | None) -> bool:
        found = measured_mib(model)
        return found is not None and least_mib <= found <= most_mib

    stage.kube.until("Model", name, holds, 30.0, f"{name} was measured at {least_mib} to {most_mib} MiB")


def until_told(stage: Stage, reason: str, words: str, timeout_seconds: float = 30.0) -> None:
    def holds(events: Mapping[str, Manifest]) -> bool:
        return any(event["reason"] == reason and words in event["message"] for event in events.values())

    stage.kube.until_all("Event", holds, timeout_seconds, f"an Event {reason} says: {words}")


def test_a_model_that_triples_at_its_first_large_batch_sends_others_away_before_the_kernel_ends_anything(
    stage: Stage,
) -> None:
    steady = models.probe("alpha", memory_mib=40) | models.probe("beta", memory_mib=40)
    stage.pool(steady | models.probe("hungry", memory_mib=40, grow_mib=130), memory=MEMORY, protectionSeconds=600)
    stage.model("hungry", priority=1)
    for name in ("alpha", "beta"):
        stage.model(name)
    with stage.clients() as pool:
        before = {name: pool.ask(name).load for name in ("hungry", "alpha", "beta")}
        until_measured(stage, "hungry", *PROBE_MIB)
        stage.until_condition("ModelPool", POOL, "MemoryMeasured", True)
        assert pool.ask("hungry", -1).status == 200
        stage.until_served(lambda served: not {"alpha", "beta"} <= served, "one of the others left")
        until_measured(stage, "hungry", PROBE_MIB[0] + 130, PROBE_MIB[1] + 130)
        assert pool.ask("hungry").load == before["hungry"]
        until_told(stage, "MemoryPressure", "as measured")


def test_a_model_that_gives_nothing_back_makes_its_pod_leak_and_others_are_served_elsewhere(stage: Stage) -> None:
    template = {
        "sharedMemory": "512Mi",
        "resources": {"requests": {"cpu": "50m", "memory": "400Mi"}, "limits": {"memory": "600Mi"}},
    }
    stage.pool(models.probe("keeper", keep_mib=150) | probes("alpha"), memory=MEMORY, template=template)
    stage.model("keeper", memory="180Mi")
    stage.model("alpha", memory="100Mi")
    with stage.clients() as pool:
        first = pool.ask("keeper").pod
        until_measured(stage, "keeper", 160, 200)
        stage.kube.delete("Model", "keeper")
        until_told(stage, "Leaking", "did not give back")
        answer = pool.ask("alpha")
        assert (answer.status, answer.pod != first) == (200, True), answer.text


def test_a_pod_whose_unload_never_ends_takes_no_more_models(stage: Stage) -> None:
    settings: dict[str, Any] = {"loading": {"unloadTimeout": "1s"}, "memory": MEMORY}
    stage.pool(models.probe("endless", execute_seconds=15) | probes("alpha"), **settings)
    stage.model("endless")
    stage.model("alpha")
    with stage.clients() as pool, ThreadPoolExecutor(1) as thread:
        pool.ask("alpha")
        asked = thread.submit(pool.ask, "endless")
        stage.until_phase("endless", "Ready")
        stage.kube.delete("Model", "endless")
        until_told(stage, "Leaking", "endless is still unloading")
        assert pool.ask("alpha").status == 200
        asked.result()
