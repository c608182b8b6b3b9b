"""The demo, as a newcomer runs it: its exit status is its own verdict on every answer and on the eviction."""

import subprocess
import sys

import pytest

from e2e.chart import CRDS, NAMESPACE, ROOT
from e2e.demo import manifests
from e2e.target import Target

pytestmark = pytest.mark.timeout(300)


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "e2e.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)


def test_the_demo_ends_well_twice_and_leaves_nothing_but_the_definitions(target: Target) -> None:
    for _ in range(2):
        told = demo("up")
        assert told.returncode == 0, told.stdout + told.stderr
        for word in ("cold", "hot", "loaded", "evicted", "ColdRequest", "MemoryPressure"):
            assert word in told.stdout
    removed = demo("down", "--keep-cluster")
    assert removed.returncode == 0, removed.stdout + removed.stderr
    for namespace in (manifests.NAMESPACE, NAMESPACE):
        assert target.kube.get("Namespace", namespace) is None
    assert all(target.kube.get("CustomResourceDefinition", name) for name in CRDS)
