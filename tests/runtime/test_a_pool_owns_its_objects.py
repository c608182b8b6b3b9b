import pytest

from larder.api import names
from larder.gateway import settings as gateway_settings
from larder.runtime.children import Keys, children, keys_secret
from tests.runtime import builders

KEYS = Keys("admin", "token")


def made(**spec):
    return children(builders.pool(**spec), builders.PLATFORM, KEYS, 1)


def one(objects, kind, name):
    (found,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def triton(**spec):
    return one(made(**spec), "Deployment", "pool-triton")["spec"]


def triton_container(**spec):
    return triton(**spec)["template"]["spec"]["containers"][0]


def gateway(**spec):
    return one(made(**spec), "Deployment", "pool-gateway")["spec"]


def test_every_object_goes_with_its_pool_and_blocks_nothing():
    for item in (*made(), keys_secret(builders.pool(), KEYS)):
        (owner,) = item["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("ModelPool", "pool", "uid-of-pool")
        assert owner["controller"] and not owner["blockOwnerDeletion"]
        assert "finalizers" not in item["metadata"]


def test_no_two_objects_share_kind_and_name():
    named = [(item["kind"], item["metadata"]["name"]) for item in made()]
    assert len(named) == len(set(named))


def test_pods_carry_the_labels_they_are_found_by_and_users_cannot_change_them():
    spec = triton(template={"labels": {names.POOL_LABEL: "other", "team": "x"}})
    found = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= found.items()
    assert found[names.POOL_LABEL] == "pool" and found["team"] == "x"


def test_a_new_triton_pod_is_ready_before_an_old_one_goes():
    assert triton()["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_without_surge_pods_are_replaced_in_place():
    assert triton(pods={"surge": 0})["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_triton_waits_for_the_readiness_gate_and_drains_before_it_ends():
    pod = triton(drainSeconds=7)["template"]["spec"]
    assert pod["readinessGates"] == [{"conditionType": names.SERVING_GATE}]
    assert pod["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": 7}}
    assert pod["terminationGracePeriodSeconds"] > 7 + 30


def test_a_meter_sees_the_processes_of_a_pod_without_a_gpu_and_takes_no_rights_for_it():
    pod = triton()["template"]["spec"]
    server, meter = pod["containers"]
    assert (server["name"], meter["name"], meter["command"]) == ("triton", "meter", ["larder", "meter"])
    assert pod["shareProcessNamespace"] is True
    assert meter["securityContext"]["readOnlyRootFilesystem"] is True
    assert meter["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert meter["resources"]["requests"] == meter["resources"]["limits"]
    assert [mount["mountPath"] for mount in meter["volumeMounts"]] == ["/dev/shm"]


def test_a_pod_with_a_gpu_is_measured_by_tritons_own_metrics():
    pod = triton(template={"resources": {"limits": {"nvidia.com/gpu": 1}}})["template"]["spec"]
    (server,) = pod["containers"]
    assert "--metrics-interval-ms=250" in server["args"]
    assert "shareProcessNamespace" not in pod


def test_only_the_operator_may_load_and_unload():
    arguments = triton_container()["args"]
    for option in ("--http-restricted-api", "--grpc-restricted-protocol"):
        (value,) = [item for item in arguments if item.startswith(option)]
        assert "model-repository" in value and "shared-memory" in value
        assert value.endswith(":larder-admin=$(LARDER_ADMIN_KEY)")
    (variable,) = triton_container()["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "pool-keys", "key": names.TRITON_ADMIN_KEY}


def test_configurations_are_completed_as_on_plain_triton_unless_the_pool_turns_it_off():
    assert "--disable-auto-complete-config" not in triton_container()["args"]
    assert "--disable-auto-complete-config" in triton_container(autoComplete=False)["args"]


def test_a_repository_volume_is_mounted_read_only_below_its_path():
    (mount,) = [m for m in triton_container()["volumeMounts"] if m["name"] == "models"]
    assert mount == {"name": "models", "mountPath": "/models", "readOnly": True, "subPath": "repo"}


def test_a_repository_uri_is_given_to_triton_with_its_credentials():
    container = triton_container(repository={"uri": "s3://bucket/models", "credentialsSecret": {"name": "s3"}})
    assert "--model-repository=s3://bucket/models" in container["args"]
    assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["shm"]


def test_what_the_user_says_of_the_pods_is_used():
    template = {
        "image": "mine:1",
        "extraArgs": ["--log-verbose=1"],
        "env": [{"name": "A", "value": "b"}],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "nodeSelector": {"gpu": "yes"},
        "sharedMemory": "1Gi",
    }
    spec = triton(template=template)["template"]["spec"]
    container = spec["containers"][0]
    assert container["image"] == "mine:1" and container["args"][-1] == "--log-verbose=1"
    assert {"name": "A", "value": "b"} in container["env"]
    assert container["resources"] == template["resources"] and spec["nodeSelector"] == {"gpu": "yes"}
    assert spec["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": str(1024**3)}


@pytest.mark.parametrize("component", [names.TRITON, names.GATEWAY])
def test_no_drain_of_a_node_is_ever_blocked(component):
    spec = one(made(), "PodDisruptionBudget", f"pool-{component}")["spec"]
    assert spec["maxUnavailable"] == 1 and spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("component", [names.TRITON, names.GATEWAY])
def test_pods_keep_to_the_restricted_security_standard(component):
    pod = one(made(), "Deployment", f"pool-{component}")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_no_container_of_the_gateway_is_ready_before_envoy_has_its_endpoints():
    pod = gateway()["template"]["spec"]
    paths = [container["readinessProbe"]["httpGet"]["path"] for container in pod["containers"]]
    assert paths == ["/readyz", "/readyz"]


def test_the_gateway_writes_to_no_image():
    pod = gateway()["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_gateway_reads_pods_and_models_of_its_namespace_and_nothing_else():
    rules = one(made(), "Role", "pool-gateway")["rules"]
    assert [rule["resources"] for rule in rules] == [["pods"], ["models"]]
    assert all(rule["verbs"] == ["get", "list", "watch"] for rule in rules)
    assert not [item for item in made() if item["kind"].startswith("Cluster")]


def test_a_triton_pod_has_no_token_of_the_api_server():
    assert triton()["template"]["spec"]["automountServiceAccountToken"] is False


def test_the_gateway_is_told_what_it_reads():
    pod = gateway(gateway={"longestHold": "45s", "heldBytes": "1Mi", "tlsSecret": {"name": "tls"}})["template"]["spec"]
    (activator,) = [container for container in pod["containers"] if container["name"] == "activator"]
    told = {variable["name"]: variable.get("value", "given") for variable in activator["env"]}
    read = gateway_settings.read(told)
    assert (read.pool, read.namespace, read.longest_hold_seconds, read.held_bytes) == ("pool", "tests", 45, 1024**2)
    assert str(read.tls_dir) == "/etc/larder/tls" and read.demand_token == "given"
    assert pod["terminationGracePeriodSeconds"] == 45 + gateway_settings.TERMINATION_MARGIN_SECONDS


def test_the_service_has_the_name_of_the_pool_and_leads_to_the_gateway():
    service = one(made(), "Service", "pool")["spec"]
    assert [port["port"] for port in service["ports"]] == [8000, 8001]
    assert service["selector"] == gateway()["selector"]["matchLabels"]


def test_pods_are_replaced_when_the_keys_they_carry_are_no_longer_the_pools():
    def annotations(keys):
        items = children(builders.pool(), builders.PLATFORM, keys, 1)
        return [i["spec"]["template"]["metadata"]["annotations"] for i in items if i["kind"] == "Deployment"]

    assert annotations(KEYS) == annotations(Keys("admin", "token"))
    assert all(a != b for a, b in zip(annotations(KEYS), annotations(Keys("x", "y")), strict=True))
