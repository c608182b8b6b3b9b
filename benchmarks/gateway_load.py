"""One load of the gateway's benchmark, driven by h2load and read from its log of every request."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from larder.errors import UnavailableError

SLACK_SECONDS: Final = 60.0
_STATUSES: Final = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_REQUESTS: Final = re.compile(r"requests: .* (\d+) failed, (\d+) errored, (\d+) timeout")


@dataclass(frozen=True, slots=True)
class Load:
    """Clients that each send the body again as soon as they are answered."""

    protocol: str
    size_bytes: int
    clients: int
    body: Path

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.protocol} {self.size_bytes // 1024}KB x{self.clients}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement saw. `cpu_us` is of the gateway, for each request."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float = 0.0


def drive(load: Load, url: str, seconds: float, header_bytes: int) -> Sample:
    """Send the load for a while. Raises UnavailableError when any answer was not a good one."""
    with tempfile.NamedTemporaryFile(prefix="h2load-") as log:
        limits = ["-D", f"{seconds * 1000:.0f}ms", "--log-file", log.name]
        _run(load, url, limits, header_bytes, seconds + SLACK_SECONDS)
        times_us = np.loadtxt(log.name, dtype=np.int64, usecols=2, ndmin=1)
    p50_us, p99_us = np.percentile(times_us, [50, 99])
    return Sample(len(times_us), len(times_us) / seconds, p50_us / 1000, p99_us / 1000)


def send(load: Load, url: str, count: int, header_bytes: int) -> None:
    """Send so many requests. Raises UnavailableError when any answer was not a good one."""
    _run(load, url, ["-n", str(count)], header_bytes, SLACK_SECONDS)


def _run(load: Load, url: str, limits: list[str], header_bytes: int, timeout_seconds: float) -> None:
    headers = {
        "grpc": ["content-type: application/grpc", "te: trailers"],
        "http": ["content-type: application/octet-stream", f"inference-header-content-length: {header_bytes}"],
    }[load.protocol]
    argv = ["h2load", *(["--h1"] if load.protocol == "http" else []), "-c", str(load.clients), *limits]
    argv += ["-d", str(load.body), *(part for header in headers for part in ("-H", header)), url]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout_seconds)
    _check(done.stdout + done.stderr, load)


def _check(text: str, load: Load) -> None:
    """A gRPC error is HTTP 200 too, but has no body: the bytes that came back tell it."""
    statuses, requests = _STATUSES.search(text), _REQUESTS.search(text)
    if statuses is None or requests is None:
        raise UnavailableError(f"h2load: {text[-500:]}")
    good, *others = (int(count) for count in statuses.groups())
    received = re.search(r"traffic: .*\((\d+)\) data", text)
    whole = received is not None and int(received[1]) >= 0.9 * good * load.size_bytes
    if not good or any(others) or int(requests[1]) or not whole:
        raise UnavailableError(f"not every answer of {load.name} was right: {text[-800:]}")
