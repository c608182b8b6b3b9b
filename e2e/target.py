"""The cluster that the demo and the tests run on: that of KUBECONFIG, or this machine's own. Neither knows which."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e import cluster
from e2e.chart import Tools
from e2e.cluster import lifecycle
from e2e.cluster.progress import Progress
from e2e.cluster.settings import Settings, from_environment
from e2e.kube import Kube, connect


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster to use. `was_started`: it was not up before; `references`: its images by role."""

    kube: Kube
    tools: Tools
    was_started: bool
    references: Mapping[str, str]


def use(*, durable: bool = False) -> Target:
    """Return the cluster, brought up where it is this machine's and is not up; `durable`: its etcd syncs to disk.

    Raises LarderError where that can't be done.
    """
    settings = from_environment(os.environ, durable=durable)
    was_started = not is_given(settings, os.environ) and not lifecycle.is_up(settings)
    used = cluster.use(durable=durable)
    return Target(connect(used.kubeconfig), _tools(used), was_started, used.references)


def take_down() -> None:
    """Take this machine's own cluster down; a given one is left alone."""
    settings = from_environment(os.environ)
    if not is_given(settings, os.environ):
        with Progress() as progress:
            lifecycle.down(settings, progress, purge=False)


def is_up() -> bool:
    """Return whether there is a cluster to use without bringing one up."""
    settings = from_environment(os.environ)
    return is_given(settings, os.environ) or lifecycle.is_up(settings)


def is_given(settings: Settings, environment: Mapping[str, str]) -> bool:
    """Return whether KUBECONFIG names a cluster that is not this machine's own."""
    given = environment.get("KUBECONFIG")
    return bool(given) and Path(given or "") != settings.kubeconfig


def _tools(used: cluster.Cluster) -> Tools:
    flag = ("--kubeconfig", str(used.kubeconfig))
    return Tools((str(used.kubectl_program), *flag), (str(used.helm_program), *flag), used.values())
