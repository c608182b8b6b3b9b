"""The programs of the cluster are configured as those of a real one."""

import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import yaml

from e2e.cluster import components, pki
from tests.cluster import builders

BINARY = Path("/bin/controlplane")


def test_only_a_durable_store_syncs_to_disk(tmp_path: Path) -> None:
    quick, durable = (components.etcd(builders.settings(tmp_path, durable=given), BINARY) for given in (False, True))
    assert components.UNSYNCED in quick.argv
    assert components.UNSYNCED not in durable.argv


def test_the_api_server_keeps_the_default_admission_plugins_and_restricts_nodes(tmp_path: Path) -> None:
    argv = components.apiserver(builders.settings(tmp_path), BINARY, "").argv
    assert "--enable-admission-plugins=NodeRestriction" in argv
    assert not [flag for flag in argv if flag.startswith("--disable-admission-plugins")]
    assert "--authorization-mode=Node,RBAC" in argv


def test_new_certificates_restart_the_api_server(tmp_path: Path) -> None:
    program = components.apiserver(builders.settings(tmp_path), BINARY, "one")
    assert replace(program, config="two").identity != program.identity


def test_a_kubeconfig_holds_its_certificates(tmp_path: Path) -> None:
    settings = builders.settings(tmp_path)
    pki.ensure(settings.state / "pki", pki.identities(settings))
    admin, *others = components.kubeconfigs(settings)
    assert admin.path == settings.kubeconfig
    assert {file.mode for file in (admin, *others)} == {0o600}
    document = yaml.safe_load(admin.content)
    assert document["clusters"][0]["cluster"]["server"] == "https://10.244.0.1:6443"
    certificate = b64decode(document["users"][0]["user"]["client-certificate-data"])
    assert certificate == pki.certificate(settings.state / "pki", pki.ADMIN).read_bytes()


def test_a_nodes_files_stay_in_its_folder(tmp_path: Path) -> None:
    settings = builders.settings(tmp_path)
    node = settings.nodes[0]
    files = {
        file.path.name: file for file in components.node_files(settings, node, "pause:1", may_lower_oom_score=True)
    }
    assert all(file.path.is_relative_to(node.folder) for file in files.values())
    kubelet = yaml.safe_load(files["kubelet.yaml"].content)
    assert kubelet["cgroupRoot"] == f"/{settings.cgroup}"
    assert kubelet["containerRuntimeEndpoint"] == f"unix://{node.containerd_socket}"
    network = json.loads(files["10-pods.conflist"].content)["plugins"][0]
    assert network["bridge"] == node.bridge
    assert network["ipam"]["dataDir"].startswith(str(node.folder))


def test_the_oom_score_is_restricted_only_where_it_cannot_be_lowered(tmp_path: Path) -> None:
    settings = builders.settings(tmp_path)
    for may, said in ((True, "restrict_oom_score_adj = false"), (False, "restrict_oom_score_adj = true")):
        files = components.node_files(settings, settings.nodes[0], "pause:1", may)
        assert said in files[0].content


def test_no_two_programs_listen_on_one_port(tmp_path: Path) -> None:
    settings = builders.settings(tmp_path)
    files = components.node_files(settings, settings.nodes[0], "pause:1", may_lower_oom_score=True)
    programs = (
        components.etcd(settings, BINARY),
        components.apiserver(settings, BINARY, ""),
        components.controller_manager(settings, BINARY),
        components.scheduler(settings, BINARY),
        components.proxy(settings, BINARY),
        components.kubelet(settings, settings.nodes[0], BINARY, files),
    )
    ports = [port for program in programs for port in program.ports]
    assert len(ports) == len(set(ports))
