"""What values do to the chart, rendered by helm itself; skipped, and said so, where there is no helm yet."""

from typing import Any

import pytest
import yaml

from tools import helm, render

DIGEST = "sha256:" + "0" * 64


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    try:
        helm.find()
    except helm.HelmError as error:
        pytest.skip(str(error))


def rendered(*values: str) -> list[dict[str, Any]]:
    settings = [argument for value in values for argument in ("--set", value)]
    command = ("template", "larder", str(render.CHART), "--namespace", "ops", "--kube-version", render.KUBERNETES)
    return [document for document in yaml.safe_load_all(helm.run(*command, *settings)) if document]


def named(documents: list[dict[str, Any]], kind: str) -> list[tuple[str | None, str]]:
    meta = [document["metadata"] for document in documents if document["kind"] == kind]
    return sorted((item.get("namespace"), item["name"]) for item in meta)


def container(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def test_named_namespaces_get_a_role_each_and_nothing_is_granted_anywhere_else() -> None:
    documents = rendered("watchNamespaces={a,b}", "rbac.aggregateToDefaultRoles=false")
    assert named(documents, "ClusterRole") == named(documents, "ClusterRoleBinding") == []
    expected = [("a", "larder-operator-pools"), ("b", "larder-operator-pools"), ("ops", "larder-operator-leader")]
    assert named(documents, "Role") == named(documents, "RoleBinding") == expected
    assert container(documents)["args"][-2:] == ["--namespace=a", "--namespace=b"]
    assert {"name": "LARDER_WATCH_NAMESPACES", "value": "a,b"} in container(documents)["env"]


def test_definitions_can_be_left_out() -> None:
    assert named(rendered("crds.install=false"), "CustomResourceDefinition") == []


@pytest.mark.parametrize(("keep", "annotations"), [("true", {"helm.sh/resource-policy": "keep"}), ("false", None)])
def test_definitions_are_kept_on_uninstall_unless_told_otherwise(keep: str, annotations: object) -> None:
    definitions = [item for item in rendered(f"crds.keep={keep}") if item["kind"] == "CustomResourceDefinition"]
    assert [item["metadata"].get("annotations") for item in definitions] == [annotations, annotations]


def test_a_digest_is_used_in_place_of_the_tag() -> None:
    documents = rendered(f"images.larder.digest={DIGEST}", "images.envoy.tag=v9")
    assert container(documents)["image"] == f"larder@{DIGEST}"
    assert {"name": "LARDER_ENVOY_IMAGE", "value": "envoyproxy/envoy:v9"} in container(documents)["env"]


def test_monitors_are_made_only_on_request() -> None:
    assert named(rendered(), "ServiceMonitor") == named(rendered(), "PodMonitor") == []
    documents = rendered("monitoring.serviceMonitor.enabled=true", "monitoring.podMonitor.enabled=true")
    assert (named(documents, "ServiceMonitor"), named(documents, "PodMonitor")) == (
        [("ops", "larder-operator")],
        [("ops", "larder-pools")],
    )


def test_a_prometheus_is_told_to_the_operator_with_its_token() -> None:
    told = rendered("prometheus.url=http://prometheus:9090", "prometheus.tokenSecret.name=access")
    environment = {item["name"]: item for item in container(told)["env"]}
    assert environment["LARDER_PROMETHEUS_URL"]["value"] == "http://prometheus:9090"
    secret = {"name": "access", "key": "token"}
    assert environment["LARDER_PROMETHEUS_TOKEN"]["valueFrom"]["secretKeyRef"] == secret
    assert not [item for item in container(rendered())["env"] if "PROMETHEUS" in item["name"]]


def test_helm_refuses_an_unknown_value_by_its_name() -> None:
    with pytest.raises(helm.HelmError, match="additional properties 'replica' not allowed"):
        rendered("operator.replica=3")


def test_a_release_of_another_name_does_not_collide() -> None:
    command = ("template", "edge", str(render.CHART), "--namespace", "ops", "--kube-version", render.KUBERNETES)
    documents = [document for document in yaml.safe_load_all(helm.run(*command)) if document]
    assert named(documents, "Deployment") == [("ops", "edge-larder-operator")]
