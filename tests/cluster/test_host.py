"""What the machine lacks is said in one sentence that names it."""

import os
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from e2e.cluster import host
from e2e.cluster.errors import ClusterError, NoSpaceError
from e2e.cluster.settings import Versions

DEBIAN = {"ID": "debian", "VERSION_ID": "12"}
OURS = {IPv4Network("10.244.0.0/24"): "larder0", IPv4Network("10.96.0.0/16"): "larder0"}


def test_root_on_debian_12_is_supported() -> None:
    host.check_system(DEBIAN, "x86_64", 0, Versions())


@pytest.mark.parametrize(
    ("release", "machine", "user_id", "sentence"),
    [
        ({"ID": "ubuntu", "VERSION_ID": "24.04"}, "x86_64", 0, "needs debian 12, this is ubuntu 24.04.*KUBECONFIG"),
        ({}, "x86_64", 0, "this is unknown"),
        (DEBIAN, "aarch64", 0, "needs an x86_64 machine, this is aarch64"),
        (DEBIAN, "x86_64", 1000, "needs root.*sudo"),
    ],
)
def test_an_unsupported_machine_is_named(release: dict[str, str], machine: str, user_id: int, sentence: str) -> None:
    with pytest.raises(ClusterError, match=sentence):
        host.check_system(release, machine, user_id, Versions())


def test_a_full_disk_is_said_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match=r"GiB left on its disk, 1048576 GiB are needed"):
        host.require_space(tmp_path / "not" / "there" / "yet", 1 << 50)


def test_a_taken_port_names_its_holder_and_who_needs_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            ClusterError, match=rf"Port {port}, which etcd needs, is held by .*\(process {os.getpid()}\)"
        ):
            host.require_free_ports({port: "etcd"})


def test_a_free_port_is_no_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    host.require_free_ports({port: "etcd"})


def test_a_network_in_the_way_is_named() -> None:
    with pytest.raises(ClusterError, match=r"10\.96\.0\.0/16 overlaps the route to 10\.0\.0\.0/8 over vpn0"):
        host.require_free_networks([("default", "eth0"), ("10.0.0.0/8", "vpn0")], dict(reversed(OURS.items())))


def test_our_own_routes_are_not_in_the_way() -> None:
    host.require_free_networks([("10.244.0.0/24", "larder0"), ("10.96.0.0/16", "larder0"), ("10.1.2.3", "eth0")], OURS)
