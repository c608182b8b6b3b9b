"""The parts of the gateway's benchmarks, each a process on a loopback address: Triton, Envoys, an activator.

Triton is the one of the cluster's image, run from its root file system in a mount namespace of its own. The pool's
Envoy has the product's configuration and a real activator beside it, whose API server is a list that never changes.
The plain Envoy is the same without everything that makes it a pool's: it routes by prefix, with no filter but the
router, to one cluster of one endpoint.
"""

import contextlib
import copy
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import urllib3
from urllib3.exceptions import HTTPError

from e2e.cluster import builder, images
from e2e.cluster.progress import Progress
from e2e.cluster.settings import from_environment
from e2e.cluster.store import produced
from e2e.processes import end
from larder.errors import UnavailableError
from larder.gateway import envoy
from larder.gateway.settings import Settings

TRITON, POOL, PLAIN = "127.66.0.2", "127.66.0.3", "127.66.0.4"
TOKEN: Final = "token-of-the-benchmark"  # noqa: S105 (on loopback, for minutes)
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
_CONFIG: Final = """backend: "python"
max_batch_size: 0
input [{ name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
_MODEL: Final = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", tensor)]) for tensor in tensors]
"""
_ENTER: Final = (
    'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/tmp" && mkdir "$0/tmp/m" '
    '&& mount --bind "$1" "$0/tmp/m" && shift && exec chroot --userspec=65532:65532 "$0" /usr/bin/env "$@"'
)


@dataclass(frozen=True, slots=True)
class Process:
    """A running part."""

    popen: "subprocess.Popen[bytes]"

    def cpu_seconds(self) -> float:
        """CPU time of its living threads so far."""
        stats = Path(f"/proc/{self.popen.pid}/task").glob("*/schedstat")
        return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9

    def resident_bytes(self) -> int:
        """Its resident memory now."""
        lines = Path(f"/proc/{self.popen.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024


@contextlib.contextmanager
def running(argv: Sequence[str | Path], log: Path) -> Iterator[Process]:
    """Run a program for as long as the block."""
    with log.open("wb") as output:
        popen = subprocess.Popen([str(part) for part in argv], stdout=output, stderr=output)
        try:
            yield Process(popen)
        finally:
            end(popen, STOP_SECONDS)


def need(program: str, package: str) -> None:
    """Install a program's Debian package where it is not there."""
    if shutil.which(program) is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", package], check=True)


def until_answered(url: str, process: Process, log: Path, timeout_seconds: float = START_SECONDS) -> None:
    """Wait for 200. Raises UnavailableError with the end of the program's log."""
    until = time.monotonic() + timeout_seconds
    while time.monotonic() < until and process.popen.poll() is None:
        with contextlib.suppress(HTTPError):
            if urllib3.request("GET", url, timeout=5.0, retries=False).status == 200:
                return
        time.sleep(0.05)
    raise UnavailableError(f"{url} did not answer: {log.read_text()[-2000:]}")


def triton_root() -> Path:
    """Return Triton's root file system, laid out once from the cluster's image, which is built if it is not there."""
    settings = from_environment()
    with Progress() as progress:
        builder.build(settings, progress, programs=False)
    archive = images.describe(settings, images.TRITON).archive(settings)
    target = settings.cache / "trees" / archive.stem
    if not target.exists():
        with produced(target) as partial:
            partial.mkdir()
            _lay_out(archive, partial)
    return target


def _lay_out(archive: Path, root: Path) -> None:
    """Put the layers of an OCI archive, which larder's images have no deleted files in, on top of each other."""
    index = _read(archive, "index.json")
    manifest = _read(archive, _blob(index["manifests"][0]["digest"]))
    for layer in manifest["layers"]:
        with subprocess.Popen(_untar(archive, _blob(layer["digest"])), stdout=subprocess.PIPE) as blob:
            packed = ["--gzip"] if layer["mediaType"].endswith("gzip") else []
            subprocess.run(["tar", "--extract", *packed, "--directory", str(root)], stdin=blob.stdout, check=True)


def _untar(archive: Path, member: str) -> list[str]:
    return ["tar", "--extract", "--to-stdout", "--file", str(archive), member]


def _read(archive: Path, member: str) -> dict[str, Any]:
    done = subprocess.run(_untar(archive, member), stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


@contextlib.contextmanager
def triton(folder: Path, model: str) -> Iterator[Process]:
    """Run Triton with one model that answers what it is sent."""
    repository, log = folder / "models", folder / "triton.log"
    (repository / model / "1").mkdir(parents=True)
    (repository / model / "config.pbtxt").write_text(_CONFIG)
    (repository / model / "1" / "model.py").write_text(_MODEL)
    for path in (folder, repository, *repository.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    path_variable = "PATH=/opt/tritonserver/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
    server = ["tritonserver", "--model-repository=/tmp/m", "--allow-metrics=false", f"--http-address={TRITON}"]
    server += [f"--grpc-address={TRITON}", "--disable-auto-complete-config"]
    enter: list[str | Path] = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        _ENTER,
        triton_root(),
        repository,
        path_variable,
    ]
    with running([*enter, *server], log) as process:
        until_answered(f"http://{TRITON}:8000/v2/health/ready", process, log)
        yield process


@contextlib.contextmanager
def envoy_server(config: Mapping[str, Any], folder: Path, name: str) -> Iterator[Process]:
    """Run an Envoy with one worker."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    binary = Path(sys.prefix) / "bin" / "envoy"
    argv: list[str | Path] = [binary, "-c", path, "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    with running(argv, folder / f"{name}.log") as process:
        yield process


def pool_settings(folder: Path, address: str = POOL) -> Settings:
    """Return the settings of a gateway pod in this folder."""
    run_dir = folder / "run"
    run_dir.mkdir(exist_ok=True)
    return Settings(pool="pool", namespace="bench", run_dir=run_dir, bind_address=address, demand_token=TOKEN)


@contextlib.contextmanager
def activator(settings: Settings, world: Mapping[str, Any], folder: Path) -> Iterator[Process]:
    """Run the activator of a pod: `world` has `models` (names), and `pods` as {address: names that it serves}."""
    path = folder / "world.json"
    limits = {key: getattr(settings, key) for key in ("longest_hold_seconds", "held_bytes", "body_limit_bytes")}
    told = {"run_dir": str(settings.run_dir), "bind_address": settings.bind_address, "limits": limits}
    path.write_text(json.dumps({**world, **told, "token": settings.demand_token}))
    with running([sys.executable, "-m", "benchmarks.gateway_activator", path], folder / "activator.log") as process:
        yield process


@contextlib.contextmanager
def pool(settings: Settings, world: Mapping[str, Any], folder: Path) -> Iterator[tuple[Process, Process]]:
    """Run Envoy and activator as in a gateway pod; yield them once the pod is ready."""
    with (
        activator(settings, world, folder) as python,
        envoy_server(envoy.bootstrap(settings), folder, "pool") as server,
    ):
        ready = f"http://{settings.bind_address}:{settings.ports.probe}/readyz"
        until_answered(ready, python, folder / "activator.log")
        yield server, python


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[Process]:
    """Run an Envoy that routes everything to Triton."""
    with envoy_server(plain_config(pool_settings(folder, PLAIN)), folder, "plain") as server:
        until_answered(f"http://{PLAIN}:8000/v2/health/ready", server, folder / "plain.log")
        yield server


def plain_config(settings: Settings) -> dict[str, Any]:
    """Return the pool's configuration without what makes it a pool's: limits and windows stay the same."""
    config = copy.deepcopy(envoy.bootstrap(settings))
    static = config["static_resources"]
    for listener in static["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"] = manager["http_filters"][-1:]
        for key in ("access_log", "local_reply_config"):
            manager.pop(key, None)
        route = {"match": {"prefix": "/"}, "route": {"cluster": listener["name"], "timeout": "0s"}}
        manager["route_config"] = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}
    activators = {name: cluster for cluster in static["clusters"] if (name := cluster["name"]).startswith("activator_")}
    static["clusters"] = [
        _direct(activators[f"activator_{protocol}"], protocol, port)
        for protocol, port in (("http", settings.ports.http), ("grpc", settings.ports.grpc))
    ]
    return {key: config[key] for key in ("node", "static_resources")}


def _direct(cluster: Mapping[str, Any], protocol: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": TRITON, "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {**cluster, "name": protocol, "load_assignment": {"cluster_name": protocol, "endpoints": endpoints}}
