"""Up means up now: an old heartbeat or an empty answer is not enough."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

from e2e.cluster import api

HEARTBEAT = datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)
QUERY = api.dns_query("kubernetes.default", b"\x12\x34")


def node(status: str) -> dict[str, Any]:
    condition = {"type": "Ready", "status": status, "lastHeartbeatTime": "2026-01-01T12:00:05Z"}
    return {"status": {"conditions": [{"type": "DiskPressure", "status": "False"}, condition]}}


def test_a_node_is_ready_by_its_condition() -> None:
    assert api.says_ready(node("True"), None)
    assert not api.says_ready(node("False"), None)
    assert not api.says_ready({}, None)


def test_a_heartbeat_from_before_the_start_does_not_count() -> None:
    assert not api.says_ready(node("True"), HEARTBEAT + timedelta(seconds=1))
    assert api.says_ready(node("True"), HEARTBEAT - timedelta(seconds=1))


def test_a_heartbeat_within_the_second_of_the_start_counts() -> None:
    assert api.says_ready(node("True"), HEARTBEAT + timedelta(milliseconds=900))


def test_a_dns_question_is_as_the_protocol_has_it() -> None:
    assert QUERY == (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0akubernetes\x07default\x00\x00\x01\x00\x01")


def test_only_a_record_without_error_answers_the_question() -> None:
    answer = b"\x12\x34\x85\x00\x00\x01\x00\x01" + QUERY[8:] + b"record"
    assert api.is_dns_answer(answer, QUERY)
    assert not api.is_dns_answer(b"\x00\x00" + answer[2:], QUERY)
    assert not api.is_dns_answer(answer[:3] + b"\x03" + answer[4:], QUERY)
    assert not api.is_dns_answer(answer[:6] + b"\x00\x00" + answer[8:], QUERY)
    assert not api.is_dns_answer(b"\x12\x34", QUERY)


def test_a_server_that_is_not_there_resolves_nothing() -> None:
    assert not api.resolves(IPv4Address("127.0.0.1"), "kubernetes.default")
