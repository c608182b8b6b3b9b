"""Settings and images for tests of the embedded cluster, in a folder of their own."""

from ipaddress import IPv4Network
from pathlib import Path

from e2e.cluster.settings import Node, Settings


def settings(folder: Path, *, durable: bool = False) -> Settings:
    """A cluster with one node whose state and cache are below a folder."""
    node = Node("node1", "larder0", IPv4Network("10.244.0.0/24"), folder / "state" / "node1")
    return Settings(folder / "state", folder / "cache", IPv4Network("10.96.0.0/16"), (node,), durable=durable)
