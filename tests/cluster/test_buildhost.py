"""Builds reach package registries as this machine does, and see nothing else of it."""

from pathlib import Path

import pytest

from e2e.cluster import buildhost
from e2e.cluster.errors import ClusterError


def test_the_environments_pip_settings_win_over_the_files() -> None:
    listing = [":env:.index-url='https://env.example/simple'", "global.index-url='https://file.example/simple'"]
    assert buildhost.pip_settings(listing) == {"index-url": "https://env.example/simple"}


def test_settings_that_mean_nothing_in_a_build_are_left_out() -> None:
    listing = [":env:.find-links='/opt/wheels'", "global.user='true'", "global.proxy='http://proxy.example:3128'"]
    assert buildhost.pip_settings(listing) == {"proxy": "http://proxy.example:3128"}


def test_a_pip_configuration_names_the_certificates_of_the_machine() -> None:
    text = buildhost.pip_configuration({"timeout": "180"}, Path("/etc/ssl/certs/ca-certificates.crt"))
    assert text.splitlines()[:2] == ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt"]
    assert "timeout = 180" in text


def test_of_apt_only_the_way_to_the_registries_is_handed_on() -> None:
    dump = ['Acquire::http::Proxy "http://proxy.example";', 'APT::Architecture "amd64";', 'Acquire::Retries "3";']
    text = buildhost.apt_configuration(dump)
    assert text == 'Acquire::http::Proxy "http://proxy.example";\nAcquire::Retries "3";\n'


def test_the_mirror_is_the_one_that_apt_uses() -> None:
    targets = [
        "bookworm-updates main http://u.example",
        "bookworm main http://m.example",
        "bookworm main http://n.example",
    ]
    assert buildhost.mirror_of(targets, "bookworm") == "http://m.example"


def test_a_machine_without_the_suite_is_told_so() -> None:
    with pytest.raises(ClusterError, match="no source for Debian's suite 'bookworm'"):
        buildhost.mirror_of(["trixie main http://m.example"], "bookworm")
