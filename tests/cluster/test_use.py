"""Demo and tests get a cluster without knowing which; what is missing for a given one is said at once."""

from pathlib import Path

import pytest

from e2e.cluster import ClusterError, use
from e2e.cluster.__main__ import environment
from tests.cluster import builders


def test_a_given_cluster_needs_a_registry() -> None:
    with pytest.raises(ClusterError, match="set LARDER_REGISTRY"):
        use(environment={"KUBECONFIG": "/some/kubeconfig"})


def test_a_kubeconfig_that_is_not_there_is_named() -> None:
    with pytest.raises(ClusterError, match="KUBECONFIG is /absent/kubeconfig, which is not a file"):
        use(environment={"KUBECONFIG": "/absent/kubeconfig", "LARDER_REGISTRY": "registry.example"})


def test_a_shell_is_told_where_kubeconfig_and_programs_are(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lines = environment(builders.settings(tmp_path)).splitlines()
    assert lines == [f"export KUBECONFIG={state}/admin.kubeconfig", f"export PATH={state}/bin:$PATH"]
