"""What a node's containerd holds: images brought in, containers taken away."""

import socket
from pathlib import Path

from e2e.cluster.command import run
from e2e.cluster.errors import ClusterError, CommandFailedError
from e2e.cluster.settings import Node

IMPORT_SECONDS = 300.0
_SECONDS = 60.0


def answers(node: Node) -> bool:
    """Whether containerd answers."""
    if not _listens(node.containerd_socket):
        return False
    try:
        _ctr(node, "namespaces", "list", "-q")
    except ClusterError:
        return False
    return True


def images(node: Node) -> frozenset[str]:
    """The references of the images that containerd has."""
    return frozenset(_ctr(node, "images", "list", "-q").split())


def import_image(node: Node, archive: Path) -> None:
    """Bring in an image from an OCI archive, under the reference in the archive."""
    _ctr(node, "images", "import", str(archive), seconds=IMPORT_SECONDS)


def tag_image(node: Node, reference: str, alias: str) -> None:
    """Give an image a second name; harmless where it has it."""
    _ctr(node, "images", "tag", "--force", reference, alias)


def remove_all(node: Node) -> None:
    """Remove every container with its task and its snapshot; what ran in them must have been ended."""
    tasks = _ctr(node, "tasks", "list", "-q").split()
    if tasks:
        _forgiving(node, "tasks", "delete", "--force", *tasks)
    found = _ctr(node, "containers", "list", "-q").split()
    if found:
        _forgiving(node, "containers", "delete", *found)


def remove_shim_sockets(node: Node) -> None:
    """Remove the sockets of shims that were ended; containerd puts them outside of its folder."""
    for address in (node.folder / "containerd" / "state").glob("io.containerd.runtime.v2.task/*/*/address"):
        path = Path(address.read_text().removeprefix("unix://"))
        if path.is_socket():
            path.unlink()


def _forgiving(node: Node, *arguments: str) -> None:
    """containerd itself may have removed one of them in between."""
    try:
        _ctr(node, *arguments)
    except CommandFailedError as error:
        if "not found" not in error.output:
            raise


def _ctr(node: Node, *arguments: str, seconds: float = _SECONDS) -> str:
    argv = ["ctr", "--address", str(node.containerd_socket), "--namespace", "k8s.io", *arguments]
    return run(argv, timeout_seconds=seconds, keep_errors_apart=True)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True
