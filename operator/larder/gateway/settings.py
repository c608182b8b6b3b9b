"""What a gateway pod is told by its Deployment, read once from the environment, and the contract of that Deployment.

A gateway pod has two containers and one init container, which share an emptyDir at `LARDER_RUN_DIR`
(default /run/larder, medium Memory is fine) and one at /etc/envoy:

- init `bootstrap`: `larder gateway bootstrap --out /etc/envoy/envoy.yaml`, same environment as `activator`.
- `envoy`: `envoy -c /etc/envoy/envoy.yaml` (add `--concurrency N` for N CPUs). Needs both emptyDirs, and the TLS
  Secret at LARDER_TLS_DIR. preStop: `httpGet` path /drained, port ACTIVATOR_PROBE_PORT: it blocks until this gateway
  holds nothing more, so that Envoy, which ends at once on SIGTERM, ends last. Readiness: GET /readyz on
  ACTIVATOR_PROBE_PORT too, so that an Envoy that restarted is not ready before it takes requests.
- `activator`: `larder gateway run`. No preStop; SIGTERM starts the drain. Readiness: GET /readyz, liveness:
  GET /healthz, both on ACTIVATOR_PROBE_PORT.

`terminationGracePeriodSeconds` of the pod: the pool's longest hold + 30 (`TERMINATION_MARGIN_SECONDS`).

| variable | of | meaning |
| --- | --- | --- |
| LARDER_POOL, LARDER_NAMESPACE | both | the pool that this gateway serves (required) |
| LARDER_LONGEST_HOLD_SECONDS | both | the longest that a cold request is held; default 60 |
| LARDER_HELD_BYTES | both | bytes of held bodies at most; default 256 MiB |
| LARDER_HELD_REQUESTS | both | held requests at most; default 10,000 |
| LARDER_BODY_LIMIT_BYTES | both | the largest body of a request; default 64 MiB |
| LARDER_ENVOY_MEMORY_BYTES | both | memory of the container `envoy`, which refuses requests in time; default 1 GiB |
| LARDER_DEMAND_TOKEN | activator | bearer token of the demand stream (required by `run`) |
| LARDER_TLS_DIR | both | directory with tls.crt and tls.key; absent: clear text |
| LARDER_RUN_DIR | both | the shared emptyDir with the Unix sockets, the board and the counters of Envoy and activator |
| POD_NAME | both | Envoy's node id and the name in logs; default: the host's name |

Ports (larder.api.names): HTTP_PORT and GRPC_PORT are Envoy's; GATEWAY_METRICS_PORT (/metrics of both containers),
DEMAND_PORT and ACTIVATOR_PROBE_PORT are the activator's. Memory of Envoy: `LARDER_BODY_LIMIT_BYTES` for each request
in flight at worst; memory of the activator: about 100 MiB + LARDER_HELD_BYTES.
The ServiceAccount may get, list and watch `pods` and `models.larder.dev` in its namespace, and nothing else.

LARDER_BIND_ADDRESS, LARDER_HTTP_PORT, LARDER_GRPC_PORT, LARDER_METRICS_PORT, LARDER_DEMAND_PORT, LARDER_PROBE_PORT
move the listeners; only tests on one machine need them.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from larder.api import names
from larder.api.environment import number, text

TERMINATION_MARGIN_SECONDS: Final = 30
POD_IDLE_SECONDS: Final = 3.0
"""An idle connection to a pod ends after this. A Triton that is to end waits for its HTTP connections, idle ones too,
as long as it may: a pod that nobody asks any more would stay for half a minute.
"""
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the pod listens. The defaults are the product's; tests on one machine move them."""

    http: int = names.HTTP_PORT
    grpc: int = names.GRPC_PORT
    metrics: int = names.GATEWAY_METRICS_PORT
    demand: int = names.DEMAND_PORT
    probe: int = names.ACTIVATOR_PROBE_PORT


@dataclass(frozen=True, slots=True)
class Settings:
    """One gateway pod. See the module's docstring for the environment it comes from."""

    pool: str
    namespace: str
    node: str = "gateway"
    longest_hold_seconds: float = 60.0
    held_bytes: int = 256 * MIB
    held_requests: int = 10_000
    body_limit_bytes: int = 64 * MIB
    envoy_memory_bytes: int = 1024 * MIB
    demand_token: str = ""
    tls_dir: Path | None = None
    run_dir: Path = Path("/run/larder")
    bind_address: str = "0.0.0.0"
    ports: Ports = Ports()

    @property
    def http_socket(self) -> Path:
        """Where the activator takes HTTP requests from Envoy."""
        return self.run_dir / "http.sock"

    @property
    def grpc_socket(self) -> Path:
        """Where the activator takes gRPC requests from Envoy."""
        return self.run_dir / "grpc.sock"

    @property
    def certificate_file(self) -> Path:
        """Where Envoy is told which certificate to serve."""
        return self.run_dir / "certificate.yaml"

    @property
    def admin_socket(self) -> Path:
        """Envoy's admin interface."""
        return self.run_dir / "admin.sock"


def read(environment: Mapping[str, str]) -> Settings:
    """Parse the environment. Raises InvalidInputError naming the variable, its value and what is allowed."""
    tls_dir = environment.get("LARDER_TLS_DIR", "")
    return Settings(
        pool=text(environment, "LARDER_POOL"),
        namespace=text(environment, "LARDER_NAMESPACE"),
        node=environment.get("POD_NAME") or socket.gethostname(),
        longest_hold_seconds=number(environment, "LARDER_LONGEST_HOLD_SECONDS", 60.0, float),
        held_bytes=number(environment, "LARDER_HELD_BYTES", 256 * MIB, int),
        held_requests=number(environment, "LARDER_HELD_REQUESTS", 10_000, int),
        body_limit_bytes=number(environment, "LARDER_BODY_LIMIT_BYTES", 64 * MIB, int),
        envoy_memory_bytes=number(environment, "LARDER_ENVOY_MEMORY_BYTES", 1024 * MIB, int),
        demand_token=environment.get("LARDER_DEMAND_TOKEN", ""),
        tls_dir=Path(tls_dir) if tls_dir else None,
        run_dir=Path(environment.get("LARDER_RUN_DIR", "/run/larder")),
        bind_address=environment.get("LARDER_BIND_ADDRESS", "0.0.0.0"),
        ports=_ports(environment),
    )


def _ports(environment: Mapping[str, str]) -> Ports:
    default = Ports()
    return Ports(
        http=number(environment, "LARDER_HTTP_PORT", default.http, int),
        grpc=number(environment, "LARDER_GRPC_PORT", default.grpc, int),
        metrics=number(environment, "LARDER_METRICS_PORT", default.metrics, int),
        demand=number(environment, "LARDER_DEMAND_PORT", default.demand, int),
        probe=number(environment, "LARDER_PROBE_PORT", default.probe, int),
    )
