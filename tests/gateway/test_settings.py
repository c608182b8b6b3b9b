"""The environment of a gateway pod, and Envoy's configuration made from it."""

import pytest
from click.testing import CliRunner

from larder.cli import main
from larder.errors import InvalidInputError
from larder.gateway import envoy
from larder.gateway.settings import MIB, Settings, read

REQUIRED = {"LARDER_POOL": "pool", "LARDER_NAMESPACE": "space"}


def test_defaults_are_those_of_a_pool():
    settings = read(REQUIRED)
    assert (settings.pool, settings.namespace) == ("pool", "space")
    assert (settings.longest_hold_seconds, settings.held_bytes, settings.body_limit_bytes) == (
        60.0,
        256 * MIB,
        64 * MIB,
    )
    assert (settings.ports.http, settings.ports.demand, settings.tls_dir) == (8000, 9103, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LARDER_POOL", ""),
        ("LARDER_HELD_BYTES", "1Gi"),
        ("LARDER_BODY_LIMIT_BYTES", "0"),
        ("LARDER_HTTP_PORT", "x"),
        ("LARDER_LONGEST_HOLD_SECONDS", "-1"),
        ("LARDER_LONGEST_HOLD_SECONDS", "inf"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(name, value):
    with pytest.raises(InvalidInputError) as wrong:
        read({**REQUIRED, name: value})
    assert (wrong.value.field, wrong.value.value) == (name, value)


def test_bootstrap_writes_what_envoy_reads(tmp_path):
    environment = {**REQUIRED, "LARDER_RUN_DIR": str(tmp_path), "LARDER_TLS_DIR": "/tls"}
    out = tmp_path / "etc" / "envoy.yaml"
    result = CliRunner().invoke(main, ["gateway", "bootstrap", "--out", str(out)], env=environment)
    assert result.exit_code == 0, result.output
    assert "triton_http" in out.read_text()
    assert "/tls/tls.crt" in (tmp_path / "certificate.yaml").read_text()
    wrong = CliRunner().invoke(main, ["gateway", "bootstrap", "--out", str(out)], env={"LARDER_POOL": ""})
    assert (wrong.exit_code, "LARDER_POOL" in wrong.output) == (1, True)


def test_every_circuit_breaker_is_raised_and_no_route_has_a_time_limit():
    configuration = envoy.bootstrap(Settings("pool", "space"))["static_resources"]
    clusters = {cluster["name"]: cluster for cluster in configuration["clusters"]}
    for name in ("pool_http", "pool_grpc", "triton_http", "triton_grpc", "activator_http", "activator_grpc"):
        (threshold,) = clusters[name]["circuit_breakers"]["thresholds"]
        assert set(threshold.values()) == {envoy.UNBOUNDED}
    text = str(configuration["listeners"])
    assert text.count("'timeout': '0s'") == text.count("'retry_policy': ")
