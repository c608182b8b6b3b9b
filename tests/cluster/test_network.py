"""Nothing addressed to or coming from pods leaves the machine, and only devices of our pods are removed."""

import json
from pathlib import Path

from e2e.cluster import network
from tests.cluster import builders


def remembered(sandbox: str) -> str:
    interfaces = [
        {"name": "larder0"},
        {"name": "veth1234abcd"},
        {"name": "eth0", "sandbox": sandbox},
    ]
    return json.dumps({"kind": "cniCacheV1", "result": {"interfaces": interfaces}})


def test_what_pods_send_beyond_the_bridge_is_rejected(tmp_path: Path) -> None:
    rules = network.rules(builders.settings(tmp_path))
    assert 'iifname { "larder0" } oifname != { "lo", "larder0" } counter reject' in rules


def test_pod_and_service_addresses_are_rejected_on_every_other_device(tmp_path: Path) -> None:
    rules = network.rules(builders.settings(tmp_path))
    rule = 'ip daddr { 10.244.0.0/24, 10.96.0.0/16 } oifname != { "lo", "larder0" } counter reject'
    assert rules.count(rule) == 2, "for what is forwarded and for what this machine sends itself"


def test_loading_the_rules_again_replaces_them(tmp_path: Path) -> None:
    first, second, third, *_ = network.rules(builders.settings(tmp_path)).splitlines()
    assert (first, second) == ("table inet larder", "delete table inet larder")
    assert third == "table inet larder {"


def test_the_device_of_a_pod_of_ours_is_found_without_its_bridge() -> None:
    state = Path("/var/lib/larder-cluster")
    assert network.pod_devices(remembered(f"{state}/node1/netns/x"), state) == {"veth1234abcd"}


def test_devices_of_other_clusters_pods_are_left_alone() -> None:
    assert network.pod_devices(remembered("/run/netns/x"), Path("/var/lib/larder-cluster")) is None
    assert network.pod_devices("damaged", Path("/var/lib/larder-cluster")) is None
    assert network.pod_devices('{"result": null}', Path("/var/lib/larder-cluster")) is None
