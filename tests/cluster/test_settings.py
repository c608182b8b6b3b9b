"""Where a cluster lives is read from the environment, once, and refused where it cannot work."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from e2e.cluster.settings import STATE_PATH_LIMIT_BYTES, from_environment, marked
from larder.errors import InvalidInputError
from tests.cluster import builders


def test_the_cache_follows_the_users_cache_folder_unless_it_is_named() -> None:
    assert from_environment({"XDG_CACHE_HOME": "/x"}).cache == Path("/x/larder")
    assert from_environment({"XDG_CACHE_HOME": "/x", "LARDER_CACHE": "/y"}).cache == Path("/y")
    assert from_environment({}).cache == Path.home() / ".cache" / "larder"


@pytest.mark.parametrize("value", ["relative/path", "/"])
def test_a_state_folder_that_is_not_an_absolute_path_is_refused(value: str) -> None:
    with pytest.raises(InvalidInputError, match=r"LARDER_STATE.*absolute path"):
        from_environment({"LARDER_STATE": value})


def test_a_state_folder_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=f"at most {STATE_PATH_LIMIT_BYTES} bytes"):
        from_environment({"LARDER_STATE": "/" + "a" * STATE_PATH_LIMIT_BYTES})


def test_every_socket_of_the_longest_state_folder_fits() -> None:
    settings = from_environment({"LARDER_STATE": "/" + "a" * (STATE_PATH_LIMIT_BYTES - 1)})
    assert len(f"{settings.nodes[0].containerd_socket}.ttrpc") <= 107


def test_a_folder_is_marked_once_and_its_mark_is_found_again() -> None:
    with TemporaryDirectory() as state:
        settings = from_environment({"LARDER_STATE": state})
        first = marked(settings)
        assert marked(settings) == first
        assert from_environment({"LARDER_STATE": state}) == first


def test_folders_of_one_name_have_different_control_groups(tmp_path: Path) -> None:
    one, other = (builders.settings(tmp_path / name) for name in ("a", "chroot"))
    assert marked(one).cgroup != marked(other).cgroup


def test_a_cluster_has_one_node_until_more_are_asked_for_and_keeps_them(tmp_path: Path) -> None:
    environment = {"LARDER_STATE": str(tmp_path)}
    assert [node.name for node in from_environment(environment).nodes] == ["node1"]
    for node in from_environment(environment, nodes=2).nodes:
        node.folder.mkdir()
    assert [node.name for node in from_environment(environment).nodes] == ["node1", "node2"]


@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_a_number_of_nodes_that_cannot_be_is_refused_with_those_that_can(tmp_path: Path, nodes: int) -> None:
    for name in ("node1", "node2"):
        (tmp_path / name).mkdir()
    with pytest.raises(InvalidInputError, match=rf"--nodes: {nodes} is not allowed; a number from 2,.* to 4"):
        from_environment({"LARDER_STATE": str(tmp_path)}, nodes=nodes)


def test_nodes_share_no_address_port_bridge_or_control_group(tmp_path: Path) -> None:
    settings = from_environment({"LARDER_STATE": str(tmp_path)}, nodes=4)
    for facts in (
        [node.pod_network for node in settings.nodes],
        [node.bridge for node in settings.nodes],
        [settings.cgroup_of(node) for node in settings.nodes],
        [port for node in settings.nodes for port in (node.kubelet_port, node.kubelet_health_port)],
    ):
        assert len(set(facts)) == len(facts)
