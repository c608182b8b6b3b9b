from e2e import models
from e2e.demo import manifests, questions
from e2e.demo.asking import Answer
from e2e.demo.story import Record
from e2e.served import served
from larder.api.quantities import parse_bytes
from larder.api.residency import Residency, Resident, encode

POOL, *MODELS = manifests.pool_and_models()


def answer(model: str, label: str | None) -> Answer:
    return Answer(questions.BY_MODEL[model][0], "HTTP", 0.01, label)


def test_the_pool_mounts_every_file_of_the_demos_models() -> None:
    volume = models.volume("demo-models", models.demo())
    in_file = POOL["spec"]["repository"]["volume"]["configMap"]
    assert sorted(in_file["items"], key=str) == sorted(volume.source["configMap"]["items"], key=str)
    assert in_file["name"] == volume.config_map["metadata"]["name"] == manifests.repository()["metadata"]["name"]


def test_any_two_of_the_models_fit_the_pod_and_three_do_not() -> None:
    memory = POOL["spec"]["memory"]
    budget, base = (parse_bytes(name, memory[name]) for name in ("budget", "base"))
    sizes = sorted(parse_bytes("memory", model["spec"]["memory"]) for model in MODELS)
    usable = budget * memory["highWatermark"] / 100 - base
    assert sizes[-1] + sizes[-2] <= usable
    assert sum(sizes) > budget - base


def test_there_are_questions_for_every_declared_model() -> None:
    assert {model["metadata"]["name"] for model in MODELS} == set(questions.BY_MODEL) == set(questions.WEIGHTS)


def test_the_story_fails_on_one_wrong_answer() -> None:
    record = Record(cold=[answer("language", "de")], hot=[answer("filetype", "pdf")], evicted="x", has_returned=True)
    assert len(record.failures) == 1
    assert record.failures[0].startswith("filetype:")


def test_the_story_fails_without_an_eviction_or_without_the_return() -> None:
    right = [answer("language", "de")]
    assert Record(cold=right).failures == ["no model was evicted for the third one"]
    assert Record(cold=right, evicted="language").failures == ["language was evicted and did not come back"]
    assert Record(cold=right, evicted="language", has_returned=True).failures == []


def test_a_pod_serves_what_its_annotation_says_until_it_is_deleted() -> None:
    text = encode(Residency("c1", 1, 1, {"language": Resident(), "filetype": Resident(routable=False)}))
    metadata = {"annotations": {"larder.dev/residency": text}}
    assert served({"metadata": metadata}) == {"language"}
    assert served({"metadata": {**metadata, "deletionTimestamp": "now"}}) == frozenset()
    assert served({"metadata": {}}) == frozenset()
