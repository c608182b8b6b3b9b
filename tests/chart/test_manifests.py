"""What is installed: least privilege, the restricted Pod Security Standard, and what the operator is promised."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from larder.api.names import GROUP
from larder.api.parsing import parse_model, parse_model_pool
from larder.api.resources import Model, ModelPool, ObjectMeta
from larder.runtime.children.gateway import gateway_role
from larder.runtime.settings import LEASE_NAME, Settings, read
from tests.api import builders

ROOT = Path(__file__).parents[2]
INSTALLED = list(yaml.safe_load_all((ROOT / "manifests" / "install.yaml").read_text()))


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in INSTALLED if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    assert isinstance(found, dict)
    return found


def granted(rules: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    """Verbs by (group, resource)."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs.setdefault((group, resource), set()).update(rule["verbs"])
    return verbs


def pod_spec() -> dict[str, Any]:
    spec = one("Deployment", "larder-operator")["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


OPERATOR = granted(one("ClusterRole", "larder-operator")["rules"])


def test_no_rule_has_a_wildcard_or_a_verb_that_raises_privileges() -> None:
    assert not any("*" in name for key in OPERATOR for name in key)
    assert set.union(*OPERATOR.values()) <= {"get", "list", "watch", "create", "update", "patch", "delete"}


def test_the_operator_may_delete_nothing_because_the_garbage_collector_does() -> None:
    assert [key for key, verbs in OPERATOR.items() if "delete" in verbs] == []


def test_the_operator_may_neither_list_nor_watch_secrets() -> None:
    assert OPERATOR["", "secrets"] == {"get", "create", "patch"}


def test_the_operator_may_not_write_the_resources_that_people_write() -> None:
    assert OPERATOR[GROUP, "models"] == OPERATOR[GROUP, "modelpools"] == {"get", "list", "watch"}


def test_the_operator_has_itself_what_it_gives_to_gateways() -> None:
    pool = parse_model_pool(builders.pool())
    for key, verbs in granted(list(gateway_role(pool)["rules"])).items():
        assert verbs <= OPERATOR[key]


def test_the_operator_has_one_lease_of_one_name_in_its_own_namespace() -> None:
    role = one("Role", "larder-operator-leader")
    assert role["metadata"]["namespace"] == "larder-system"
    named = [rule for rule in role["rules"] if rule["verbs"] != ["create"]]
    assert [rule["resourceNames"] for rule in named] == [[LEASE_NAME]]


def test_the_operators_pods_meet_the_restricted_standard() -> None:
    spec = pod_spec()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True


def test_the_operator_is_told_what_it_reads_from_its_environment() -> None:
    given = {item["name"]: item.get("value", item["name"].lower()) for item in pod_spec()["containers"][0]["env"]}
    settings = read(given)
    assert isinstance(settings, Settings)
    assert settings.platform.triton_image.startswith("nvcr.io/nvidia/tritonserver:")
    assert settings.platform.envoy_image.startswith("envoyproxy/envoy:")
    assert settings.identity == "pod_name"


def test_the_probes_and_the_metrics_are_where_the_operator_serves_them() -> None:
    container = pod_spec()["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"probes": 8080, "metrics": 9101}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "probes"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}


def test_two_replicas_run_and_no_eviction_is_blocked_for_an_unhealthy_one() -> None:
    assert one("Deployment", "larder-operator")["spec"]["replicas"] == 2
    budget = one("PodDisruptionBudget", "larder-operator")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_the_selectors_select_the_operators_pods_and_not_those_of_pools() -> None:
    labels = one("Deployment", "larder-operator")["spec"]["template"]["metadata"]["labels"]
    for kind, name in (("Service", "larder-operator-metrics"), ("PodDisruptionBudget", "larder-operator")):
        selector = one(kind, name)["spec"]["selector"]
        wanted = selector.get("matchLabels", selector)
        assert wanted.items() <= labels.items()
        assert wanted["app.kubernetes.io/component"] == "operator"


@pytest.mark.parametrize("path", sorted((ROOT / "manifests" / "samples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_samples_are_read_by_the_operator(path: Path) -> None:
    parsers: dict[str, Callable[[Any], Model | ModelPool]] = {"Model": parse_model, "ModelPool": parse_model_pool}
    ours = [item for item in yaml.safe_load_all(path.read_text()) if item["kind"] in parsers]
    assert ours
    for sample in ours:
        parsed = parsers[sample["kind"]](sample)
        assert isinstance(parsed.meta, ObjectMeta)
