"""The custom resources as frozen values. Durations are seconds, quantities are bytes; None is "not given".

`larder.api.parsing` makes them from the API server's objects, once, at the edge.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Manifest = Mapping[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""

GPU_RESOURCE = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """Who an object is, and which version of its spec this is."""

    namespace: str
    name: str
    uid: str
    generation: int
    created_seconds: float
    resource_version: str
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class SLO:
    """A Model's objective."""

    latency_seconds: float | None = None
    percentile: float = 99.0
    cold_start_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One declared model. `served_name` is its name in the repository and in requests."""

    meta: ObjectMeta
    pool: str
    served_name: str
    memory_bytes: int | None = None
    slo: SLO = field(default_factory=SLO)
    priority: int = 0
    min_copies: int = 0
    max_copies: int | None = None
    revision: str = ""
    stateful: bool = False
    sequence_idle_seconds: float = 60.0
    status: Manifest = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Repository:
    """Where the models are: a volume (any Kubernetes volume source) or a URI that Triton reads."""

    uri: str | None = None
    volume: Manifest | None = None
    sub_path: str | None = None
    credentials_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """A pod's budget, what the empty server takes of it, and watermarks as fractions of the budget."""

    budget_bytes: int
    default_model_bytes: int
    base_bytes: int = 0
    high_watermark: float = 0.95
    low_watermark: float = 0.85


@dataclass(frozen=True, slots=True)
class Pods:
    """How many pods. `surge` 0 replaces pods in place (GPUs are scarce), 1 adds the new one first.

    None goes for lack of work sooner than `scale_down_after_seconds` after the last change of their number.
    """

    min: int = 1
    max: int = 1
    fixed: int | None = None
    surge: int = 1
    scale_down_after_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Loading:
    """Loads at once per pod, and the timeouts of one load and one unload."""

    concurrency: int = 2
    load_timeout_seconds: float = 600.0
    unload_timeout_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """The pool's gateway."""

    replicas: int = 2
    resources: Manifest = field(default_factory=dict)
    longest_hold_seconds: float = 60.0
    held_bytes: int = 256 * 1024 * 1024
    held_requests: int = 10_000
    body_limit_bytes: int = 64 * 1024 * 1024
    tls_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """What the user adds to the Triton pods. None: the operator's default."""

    image: str | None = None
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    resources: Manifest = field(default_factory=dict)
    shared_memory_bytes: int | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Manifest, ...] = ()
    affinity: Manifest | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra_args: tuple[str, ...] = ()
    env: tuple[Manifest, ...] = ()

    @property
    def has_gpu(self) -> bool:
        """Whether the memory that counts is a GPU's."""
        return any(GPU_RESOURCE in (self.resources.get(kind) or {}) for kind in ("limits", "requests"))


@dataclass(frozen=True, slots=True)
class ModelPool:
    """One pool."""

    meta: ObjectMeta
    repository: Repository
    memory: Memory
    pods: Pods = field(default_factory=Pods)
    loading: Loading = field(default_factory=Loading)
    auto_complete: bool = True
    drain_seconds: float = 60.0
    protection_seconds: float = 30.0
    gateway: Gateway = field(default_factory=Gateway)
    mode: Literal["Active", "Advise"] = "Active"
    template: Template = field(default_factory=Template)
    status: Manifest = field(default_factory=dict)
