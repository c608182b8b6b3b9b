"""The routing table from pods, annotations and hints."""

from hypothesis import given
from hypothesis import strategies as st

from larder.api.names import RESIDENCY_ANNOTATION, SERVING_GATE
from larder.gateway.routes import HINT_SECONDS, Hint, build, in_force, newest, parse_pod, unexpired
from tests.gateway import builders
from tests.gateway.builders import residency

A, B = "containerd://a", "containerd://b"


def parsed(name="p", record=None, **more):
    return parse_pod(builders.pod(name, f"10.0.0.{ord(name[0])}", record, **more))


def table(*pods, hints=None):
    return build(pods, hints or {})


def test_a_pod_serves_what_its_annotation_says_for_the_container_that_runs():
    found = table(parsed(record=residency(A, 3, "m", draining=["n"])))
    assert [endpoint.pod_name for endpoint in found.copies["m"]] == ["p"]
    assert "n" not in found.copies
    assert found.versions == {"uid-of-p": (1, 3)}


def test_a_record_of_another_container_counts_for_nothing():
    assert table(parsed(record=residency(A, 3, "m"), container=B)) == table()


def test_a_terminating_pod_serves_nothing_but_its_version_is_known():
    manifest = builders.pod("p", "10.0.0.1", residency(A, 3, "m"))
    manifest["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    found = build([parse_pod(manifest)], {})
    assert (found.copies, found.versions) == ({}, {"uid-of-p": (1, 3)})


def test_a_pod_whose_node_is_lost_serves_nothing_but_its_version_is_known():
    manifest = builders.pod("p", "10.0.0.1", residency(A, 3, "m"))
    since = {"Ready": "2026-01-01T00:00:09Z", "ContainersReady": "2026-01-01T00:00:00Z"}
    since[SERVING_GATE] = since["ContainersReady"]
    manifest["status"]["conditions"] = [
        {"type": name, "status": str(name != "Ready"), "lastTransitionTime": when} for name, when in since.items()
    ]
    found = build([parse_pod(manifest)], {})
    assert (found.copies, found.versions) == ({}, {"uid-of-p": (1, 3)})


def test_a_pod_without_address_container_or_readable_annotation_serves_nothing():
    without_address = builders.pod("p", "", residency(A, 3, "m"))
    starting = builders.pod("q", "10.0.0.2", residency(A, 3, "m"))
    starting["status"] = {"podIP": "10.0.0.2"}
    strange = builders.pod("r", "10.0.0.3")
    strange["metadata"]["annotations"] = {RESIDENCY_ANNOTATION: "{}"}
    found = build([parse_pod(manifest) for manifest in (without_address, starting, strange)], {})
    assert found.copies == {}


def test_the_higher_term_and_generation_wins_between_hint_and_annotation():
    pod = parsed(record=residency(A, 5, "old"))
    newer, older = (Hint(residency(A, number, "new"), 0.0) for number in (6, 4))
    next_leader = Hint(residency(A, 1, "new", term=2), 0.0)
    other_container = Hint(residency(B, 9, "new"), 0.0)
    assert [sorted(in_force(pod, hint).models) for hint in (None, newer, older, next_leader, other_container)] == [
        ["old"],
        ["new"],
        ["old"],
        ["new"],
        ["old"],
    ]


SERVED = st.dictionaries(st.sampled_from("pqr"), st.sets(st.sampled_from("abc")), max_size=3)


@given(st.lists(SERVED, min_size=1, max_size=6))
def test_a_table_kept_pod_by_pod_is_the_one_that_is_built_anew(worlds):
    kept, uids = build([], {}), [f"uid-of-{name}" for name in "pqr"]
    for generation, served in enumerate(worlds):
        pods = {f"uid-of-{name}": parsed(name, residency(A, generation, *models)) for name, models in served.items()}
        before = dict(kept.copies)
        for uid in uids:
            was = kept.put(uid, pods.get(uid), None) or {}
            assert all(before.get(model, ()) == copies for model, copies in was.items())
            before = dict(kept.copies)
        fresh = build(pods.values(), {})
        assert kept.versions == fresh.versions
        assert {m: set(c) for m, c in kept.copies.items()} == {m: set(c) for m, c in fresh.copies.items()}


def test_a_hint_that_its_annotation_does_not_follow_is_dropped():
    hints = {"p": Hint(residency(A, 1), 0.0), "q": Hint(residency(A, 1), 10.0)}
    assert set(unexpired(hints, HINT_SECONDS + 1)) == {"q"}


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_hints_in_any_order_leave_the_newest_of_the_last_container(offers):
    kept = None
    for container, term, generation in offers:
        kept = newest(kept, Hint(residency(container, generation, term=term), 0.0))
    last = offers[-1][0]
    since = next((n for n in range(len(offers) - 1, -1, -1) if offers[n][0] != last), -1) + 1
    assert kept.residency.container_id == last
    assert kept.residency.version == max((term, generation) for _, term, generation in offers[since:])
