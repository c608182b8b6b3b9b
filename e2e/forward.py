"""Ports of this machine that lead to a Service's pods, through the API server: works on any cluster."""

import contextlib
import re
import selectors
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Final

from e2e.processes import end
from larder.errors import UnavailableError

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0
LINE: Final = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)")


@contextlib.contextmanager
def forward(kubectl: Sequence[str], namespace: str, target: str, ports: Sequence[int]) -> Iterator[dict[int, int]]:
    """Forward free local ports to these ports of `target` (such as `service/demo`), and yield them by remote port.

    `kubectl` is its command line with the kubeconfig. Raises UnavailableError with kubectl's own words.
    """
    wanted = [f":{port}" for port in ports]
    command = [*kubectl, "--namespace", namespace, "port-forward", "--address", "127.0.0.1", target, *wanted]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True)
        try:
            local_ports = _local_ports(process, len(ports), complaints)
            # kubectl prints a line for each connection, and stands still once nobody reads them.
            threading.Thread(target=_drain, args=(process,), daemon=True).start()
            yield local_ports
        finally:
            end(process, STOP_SECONDS)


def _local_ports(process: subprocess.Popen[bytes], count: int, complaints: IO[bytes]) -> dict[int, int]:
    assert process.stdout is not None
    found: dict[int, int] = {}
    read = b""
    deadline = time.monotonic() + START_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(found) < count:
            if not selector.select(deadline - time.monotonic()):
                raise UnavailableError(f"kubectl port-forward did not start within {START_SECONDS:.0f} s")
            piece = process.stdout.read1(4096)  # type: ignore[attr-defined]
            if not piece:
                complaints.seek(0)
                raise UnavailableError(f"kubectl port-forward: {complaints.read().decode(errors='replace').strip()}")
            read += piece
            found = {int(remote): int(local) for local, remote in LINE.findall(read)}
    return found


def _drain(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for _ in lines:
            pass
