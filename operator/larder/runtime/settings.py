"""What the operator process is told by its Deployment, read once from the environment.

| variable | meaning |
| --- | --- |
| LARDER_TRITON_IMAGE, LARDER_ENVOY_IMAGE, LARDER_IMAGE | images of Triton pods, of Envoy, and of Larder's activator |
| LARDER_IMAGE_PULL_POLICY | of all three; default IfNotPresent |
| LARDER_TRITON_USER | numeric user of Triton pods, default 1000 as in the official image; `image`: the image's own |
| LARDER_NAMESPACE | the operator's own namespace, where its Lease is (required) |
| POD_NAME | who holds the Lease; default: the host's name |
| LARDER_WATCH_NAMESPACES | comma-separated; empty: all |
| LARDER_PROMETHEUS_URL | a Prometheus that scrapes the gateways; empty: none is read |
| LARDER_PROMETHEUS_SELECTOR | label matchers of the gateways of `$pool` in `$namespace` there |
| LARDER_PROMETHEUS_TOKEN | bearer token for it |
| LARDER_FORECAST_INTERVAL | seconds in which forecasts learn, default 60; less only where time itself is compressed |
| LARDER_METRICS_PORT, LARDER_PROBE_PORT | default 9101 and 8080 |
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from larder.adapters.prometheus_reads import DEFAULT_SELECTOR, Source
from larder.api.environment import number, text
from larder.errors import InvalidInputError

LEASE_NAME: Final = "larder-operator"


@dataclass(frozen=True, slots=True)
class Platform:
    """What pods are made of when their pool does not say. `triton_user` None: the image's own user."""

    triton_image: str
    envoy_image: str
    larder_image: str
    pull_policy: str = "IfNotPresent"
    triton_user: int | None = 1000


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator process. `namespaces` empty: all of them."""

    platform: Platform
    namespace: str
    identity: str
    namespaces: tuple[str, ...] = ()
    metrics_port: int = 9101
    probe_port: int = 8080
    prometheus: Source | None = None
    forecast_interval_seconds: float = 60.0


def read(environment: Mapping[str, str]) -> Settings:
    """Parse the environment. Raises InvalidInputError naming the variable, its value and what is allowed."""
    platform = Platform(
        triton_image=text(environment, "LARDER_TRITON_IMAGE"),
        envoy_image=text(environment, "LARDER_ENVOY_IMAGE"),
        larder_image=text(environment, "LARDER_IMAGE"),
        pull_policy=environment.get("LARDER_IMAGE_PULL_POLICY") or "IfNotPresent",
        triton_user=_user(environment),
    )
    listed = environment.get("LARDER_WATCH_NAMESPACES", "").split(",")
    return Settings(
        platform=platform,
        namespace=text(environment, "LARDER_NAMESPACE"),
        identity=environment.get("POD_NAME") or socket.gethostname(),
        namespaces=tuple(name.strip() for name in listed if name.strip()),
        metrics_port=number(environment, "LARDER_METRICS_PORT", 9101, int),
        probe_port=number(environment, "LARDER_PROBE_PORT", 8080, int),
        prometheus=_prometheus(environment),
        forecast_interval_seconds=number(environment, "LARDER_FORECAST_INTERVAL", 60.0, float),
    )


def _prometheus(environment: Mapping[str, str]) -> Source | None:
    url = environment.get("LARDER_PROMETHEUS_URL", "")
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInputError("LARDER_PROMETHEUS_URL", url, "it must be an address such as http://prometheus:9090")
    selector = environment.get("LARDER_PROMETHEUS_SELECTOR") or DEFAULT_SELECTOR
    return Source(url.rstrip("/"), selector, environment.get("LARDER_PROMETHEUS_TOKEN", ""))


def _user(environment: Mapping[str, str]) -> int | None:
    if environment.get("LARDER_TRITON_USER") == "image":
        return None
    return number(environment, "LARDER_TRITON_USER", 1000, int)
