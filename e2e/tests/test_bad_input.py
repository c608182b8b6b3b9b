"""Every kind of bad input gets its sentence, heals when it is put right, and never disturbs the other models."""

import http.client
import json
import time
from typing import Any

import grpc
import pytest

from e2e import models
from e2e.kube import Manifest
from e2e.tests.stage import POOL, Pool, Stage, condition_of, probes, small_pool


def until_event(stage: Stage, kind: str, name: str, reason: str) -> None:
    """Wait until an Event about the object has this reason."""

    def holds(events: Any) -> bool:
        return any(
            event["involvedObject"]["kind"] == kind
            and event["involvedObject"]["name"] == name
            and event["reason"] == reason
            for event in events.values()
        )

    stage.kube.until_all("Event", holds, 20, f"an Event {reason} about {kind}/{name}")


def test_a_model_of_an_unknown_pool_says_so_and_heals_when_the_pool_appears(stage: Stage) -> None:
    stage.model("alpha")
    condition = stage.until_condition("Model", "alpha", "PoolFound", False)
    assert condition["reason"] == "PoolNotFound"
    assert POOL in condition["message"]
    until_event(stage, "Model", "alpha", "PoolNotFound")
    stage.pool(probes("alpha"))
    stage.until_condition("Model", "alpha", "PoolFound", True)
    with stage.clients() as pool:
        assert pool.ask("alpha").model == "alpha"


def test_a_model_that_is_not_in_the_repository_fails_with_tritons_reason(stage: Stage) -> None:
    stage.pool(probes("alpha"))
    stage.model("missing")
    stage.model("alpha")
    with stage.clients() as pool:
        started = time.monotonic()
        reply = pool.ask("missing")
        assert reply.status == 503, reply.text
        assert "missing" in reply.text
        assert int(reply.headers["retry-after"]) >= 1
        assert time.monotonic() - started < 10
        found = stage.until_phase("missing", "Failed")
        assert condition_of(found, "Loaded")["reason"] == "LoadFailed"
        assert "missing" in condition_of(found, "Loaded")["message"]
        assert pool.ask("alpha").model == "alpha"


def test_a_model_whose_load_fails_says_why_and_is_tried_at_once_on_a_change(stage: Stage) -> None:
    reason = "the weights are not for this planet"
    stage.pool(models.probe("broken", fail_load=reason) | probes("alpha"))
    stage.model("broken", copies={"min": 1})
    stage.model("alpha")
    found = stage.until_phase("broken", "Failed")
    assert reason in condition_of(found, "Loaded")["message"]
    with stage.clients() as pool:
        reply = pool.ask("broken")
        assert reply.status == 503
        assert reason in reply.text
        assert pool.ask("alpha").model == "alpha"
    stage.model("broken", copies={"min": 1}, priority=7)
    generation = (stage.kube.get("Model", "broken") or {})["metadata"]["generation"]

    def was_tried(item: Manifest | None) -> bool:
        condition = condition_of(item, "Loaded")
        return condition.get("observedGeneration") == generation and condition.get("status") == "False"

    stage.kube.until("Model", "broken", was_tried, 10, "the changed model was tried at once")


def test_a_model_that_can_never_fit_a_pod_says_both_numbers_and_is_never_loaded(stage: Stage) -> None:
    stage.pool(probes("huge", "alpha"))
    stage.model("huge", memory="2Gi")
    stage.model("alpha")
    condition = stage.until_condition("Model", "huge", "Fits", False)
    assert condition["reason"] == "OverBudget"
    assert sum(character.isdigit() for character in condition["message"]) >= 2
    with stage.clients() as pool:
        assert pool.ask("alpha").model == "alpha"
        started = time.monotonic()
        reply = pool.ask("huge")
        assert reply.status == 503, reply.text
        assert time.monotonic() - started < 10
    stage.until_served(lambda served: served == {"alpha"}, "only alpha is served")


def test_of_two_models_with_one_name_the_older_serves_and_the_newer_conflicts_until_it_goes(stage: Stage) -> None:
    stage.pool(probes("alpha"))
    stage.model("older", repositoryName="alpha")
    stage.until_condition("Model", "older", "Accepted", True)
    # Creation times are whole seconds; equal ones are no order.
    time.sleep(1.1)
    stage.model("newer", repositoryName="alpha")
    found = stage.until_phase("newer", "Conflict")
    condition = condition_of(found, "Accepted")
    assert (condition["status"], condition["reason"]) == ("False", "Conflict")
    assert "older" in condition["message"]
    with stage.clients() as pool:
        before = pool.ask("alpha")
        assert before.model == "alpha"
        stage.kubectl("delete", "model", "older", "--timeout=20s")
        stage.until_condition("Model", "newer", "Accepted", True)
        assert pool.ask("alpha").model == "alpha"


def test_an_ensemble_whose_members_are_not_declared_is_refused_and_names_them(stage: Stage) -> None:
    stage.pool(probes("alpha", "beta") | models.ensemble("pair", "alpha", "beta"))
    stage.model("pair")
    stage.model("alpha")
    with stage.clients() as pool:
        assert pool.ask("pair").status == 503
        condition = stage.until_condition("Model", "pair", "MembersDeclared", False)
        assert condition["reason"] == "MembersMissing"
        assert "beta" in condition["message"]
        stage.model("beta")
        stage.until_condition("Model", "pair", "MembersDeclared", True)
        reply = pool.ask("pair", 40)
        assert (reply.number, reply.model) == (42, "beta")


POD_PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "an image that can't be pulled": ({"template": {"image": "127.0.0.1:1/no/such/image:1"}}, "127.0.0.1:1/no/such"),
    "a template that the API server refuses": ({"template": {"labels": {"bad label": "x"}}}, "bad label"),
    "arguments that Triton refuses": ({"template": {"extraArgs": ["--no-such-argument"]}}, ""),
    "a node selector that no node meets": ({"template": {"nodeSelector": {"larder.dev/none": "x"}}}, "node"),
}


@pytest.mark.parametrize("problem", POD_PROBLEMS)
def test_pods_that_cannot_run_are_explained_in_the_pools_condition(stage: Stage, problem: str) -> None:
    spec, word = POD_PROBLEMS[problem]
    stage.pool(probes("alpha"), wait=False, **spec)
    condition = stage.until_condition("ModelPool", POOL, "PodsHealthy", False, 60)
    found = stage.kube.until(
        "ModelPool",
        POOL,
        lambda item: bool(word in condition_of(item, "PodsHealthy").get("message", "")) and said(item),
        60,
        f"the condition says {word!r}",
    )
    assert condition_of(found, "PodsHealthy")["message"], condition


def said(item: Manifest | None) -> bool:
    """Whether PodsHealthy says more than that pods are not there yet."""
    return condition_of(item, "PodsHealthy").get("reason") not in {None, "PodsNotReady", "NotYetKnown"}


def test_a_repository_that_cannot_be_mounted_is_explained_in_the_pools_condition(stage: Stage) -> None:
    volume = models.Volume({}, {"configMap": {"name": "no-such-map"}})
    stage.kube.apply(small_pool(POOL, volume, {}))

    def holds(item: Manifest | None) -> bool:
        return any(
            "no-such-map" in condition.get("message", "") and condition["status"] == "False"
            for condition in ((item or {}).get("status") or {}).get("conditions", [])
        )

    stage.kube.until("ModelPool", POOL, holds, 60, "a condition names the volume that is not there")
    stage.pool(probes("alpha"))
    stage.model("alpha")
    with stage.clients() as pool:
        assert pool.ask("alpha").model == "alpha"


@pytest.fixture
def pool(stage: Stage) -> Any:
    """One model, with a small limit of bodies."""
    gateway = {"replicas": 1, "longestHold": "20s", "bodyLimit": "1Mi", "heldBytes": "16Mi"}
    stage.pool(probes("alpha"), gateway=gateway)
    stage.model("alpha")
    with stage.clients() as clients:
        yield clients


def test_malformed_requests_get_a_sentence_hot_and_cold(pool: Pool) -> None:
    for moment in ("cold", "hot"):
        assert_refused(pool, "/v2/models/alpha/infer", b'{"inputs": [', {400}, moment)
        assert_refused(pool, "/v2/models/alpha/infer", b"\x00\xff not json", {400}, moment)
        assert_refused(pool, "/v2/models/alpha/infer", wrong_input(), {400}, moment)
        assert_refused(pool, "/v2/models/alpha/infer", b'"' + b"x" * 2_000_000 + b'"', {413}, moment)
        assert_refused(pool, "/v2/models/alpha/nonsense", b"{}", {400, 404, 405}, moment)
        assert_refused(pool, "/v3/nonsense", b"{}", {404}, moment)
        assert_refused(pool, "/v2/models//infer", b"{}", {400, 404}, moment)
        assert pool.ask("alpha").model == "alpha"


def wrong_input() -> bytes:
    tensor = {"name": "NO_SUCH_INPUT", "datatype": "INT32", "shape": [1], "data": [1]}
    return json.dumps({"inputs": [tensor]}).encode()


def assert_refused(pool: Pool, path: str, body: bytes, allowed: set[int], moment: str) -> None:
    reply = pool.post(path, body, timeout_seconds=30)
    assert reply.status in allowed, f"{moment} {path} {body[:30]!r}: {reply.status} {reply.text}"
    assert len(reply.text.split()) > 2, f"{moment} {path} {body[:30]!r}: no sentence in {reply.text!r}"


def test_a_body_that_ends_too_early_is_never_a_stuck_request(pool: Pool) -> None:
    host, port = pool.http.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.putrequest("POST", "/v2/models/alpha/infer")
    connection.putheader("Content-Length", "100000")
    connection.endheaders(b"{")
    connection.close()
    assert pool.ask("alpha").model == "alpha"


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff\xff", b"\x0a\x05alpha\xff"])
def test_wrong_protobuf_gets_a_grpc_status_hot_and_cold(pool: Pool, body: bytes) -> None:
    with grpc.insecure_channel(pool.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                call(body, timeout=20)
            assert caught.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
            assert caught.value.details()
            assert pool.ask("alpha").model == "alpha"


def test_an_unknown_grpc_method_is_unimplemented(pool: Pool) -> None:
    with grpc.insecure_channel(pool.grpc) as channel:
        for method in ("/inference.GRPCInferenceService/Nonsense", "/no.such.Service/Call"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method, None, None)(b"", timeout=20)
            assert caught.value.code() in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND}
            assert caught.value.details()


def test_an_error_of_the_model_itself_reaches_the_client_after_one_run(stage: Stage) -> None:
    stage.pool(models.probe("picky", fail_on=13))
    stage.model("picky")
    with stage.clients() as pool:
        reply = pool.ask("picky", 13)
        assert reply.status >= 400
        assert "asked to fail on 13" in reply.text
        assert pool.ask("picky", 14).number == 15
