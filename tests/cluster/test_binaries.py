"""A program is rebuilt when its source, its version or the tool chain changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster import binaries
from e2e.cluster.binaries import Go
from e2e.cluster.settings import Versions

GO = Go(Path("go"), "go1.26.3")


@pytest.mark.parametrize(
    ("version", "enough"),
    [("go1.26.0", True), ("go1.27", True), ("go2.0", True), ("go1.25.9", False), ("devel", False)],
)
def test_a_tool_chain_is_used_only_if_it_is_new_enough(version: str, enough: bool) -> None:
    assert binaries.is_new_enough(version, (1, 26)) is enough


def test_another_version_is_another_program() -> None:
    versions = Versions()
    newer = replace(versions, helm="9.9.9", kubernetes="1.99.0")
    for name in (binaries.HELM, binaries.CONTROLPLANE):
        assert binaries.key(newer, GO, name) != binaries.key(versions, GO, name)
    assert binaries.key(newer, GO, binaries.PAUSE) == binaries.key(versions, GO, binaries.PAUSE)


def test_another_tool_chain_makes_another_program() -> None:
    assert binaries.key(Versions(), GO, binaries.PAUSE) != binaries.key(Versions(), Go(Path("go"), "x"), binaries.PAUSE)


def test_what_is_built_is_of_the_version_that_its_modules_name() -> None:
    e2e = Path(binaries.__file__).parents[1]
    assert f"k8s.io/kubernetes v{Versions().kubernetes}\n" in (e2e / "cluster" / "controlplane" / "go.mod").read_text()
    assert f"github.com/coredns/coredns v{Versions().coredns}\n" in (e2e / "images" / "coredns" / "go.mod").read_text()
