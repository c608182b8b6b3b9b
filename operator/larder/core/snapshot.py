"""What the planner sees of one pool at one moment. Immutable; `dataclasses.replace` makes a what-if.

Every time is in seconds on one clock chosen by the caller (Unix time in the operator, virtual time in the
simulator), every size in bytes. A reading that is missing is None, never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from larder.core.appraisal import Appraisal, Traffic
from larder.core.plan import Reason


class PlacementState(StrEnum):
    """Where a (model, pod) pair stands. Its bytes count against the pod in every state."""

    LOADING = "Loading"
    READY = "Ready"
    DRAINING = "Draining"
    UNLOADING = "Unloading"


class PodState(StrEnum):
    """What may be done with a pod. Only a SERVING pod takes new models; those of the others only leave.

    A STARTING pod is not taken over yet, or does not answer. A RETIRING pod was chosen to go and still answers.
    """

    STARTING = "Starting"
    SERVING = "Serving"
    LEAKING = "Leaking"
    RETIRING = "Retiring"
    TERMINATING = "Terminating"


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured quantity in base units: mean, standard deviation, number of samples, time of the last."""

    mean: float
    deviation: float
    samples: int
    at_seconds: float


@dataclass(frozen=True, slots=True)
class Objective:
    """A latency objective: `percentile` of answers within `latency_seconds`, or cold within + `cold_start_seconds`."""

    latency_seconds: float | None = None
    percentile: float = 99.0
    cold_start_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A declared model, named as in the repository. `memory_bytes` is the size to plan with; None: undeclared."""

    name: str
    memory_bytes: int | None
    objective: Objective = field(default_factory=Objective)
    priority: int = 0
    min_copies: int = 0
    max_copies: int | None = None
    revision: str = ""
    stateful: bool = False
    sequence_idle_seconds: float = 60.0
    load_seconds: Measured | None = None
    execution_seconds: Measured | None = None
    retry_at_seconds: float | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """One model on one pod. `last_used_seconds` is None where no use was seen."""

    model: str
    pod: str
    state: PlacementState
    memory_bytes: int
    since_seconds: float
    revision: str = ""
    last_used_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Retirement:
    """A pod was chosen to go: why, since when, and how far that is.

    `surge` pods are asked for beyond the pool's number until it goes. Once its models are elsewhere the cluster is
    told, at `told_seconds`, that this pod goes first; then `to_pods` are asked for, and `back_to_pods` (None: no
    change) when it is on its way.
    """

    reason: Reason
    since_seconds: float
    surge: int = 0
    told_seconds: float | None = None
    to_pods: int | None = None
    back_to_pods: int | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as a cache. `capacity_bytes` is what models may take: up to the high mark, less what an empty server takes.

    `quarantined_bytes` are taken by no model that is counted. `used_bytes` is what is really taken beyond the empty
    server, as measured; None: nobody measures it.

    `ready`: the cluster counts it as ready. `outdated`: a rollout will replace it. `leaking`: also while RETIRING.
    """

    name: str
    state: PodState
    capacity_bytes: int
    quarantined_bytes: int = 0
    unmanaged_bytes: int = 0
    since_seconds: float = 0.0
    ready: bool = True
    outdated: bool = False
    leaking: bool = False
    retirement: Retirement | None = None
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The held cold requests of one model: how many, the arrival of the oldest, the earliest deadline."""

    model: str
    count: int
    oldest_seconds: float
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second of one model and when that was true."""

    per_second: float
    at_seconds: float


@dataclass(frozen=True, slots=True)
class Settings:
    """The pool's own settings that a plan obeys."""

    default_model_bytes: int
    low_watermark: float = 0.85
    """The share of a pod's capacity down to which it is relieved once it is over."""
    loads_at_once: int = 2
    protection_seconds: float = 30.0
    min_pods: int = 1
    max_pods: int = 1
    fixed_pods: int | None = None
    surge_pods: int = 1
    """Pods that may exist beyond the number for the time of a replacement."""
    scale_down_after_seconds: float = 600.0
    """A pod goes no sooner than so long after the last change of their number, or after the last request."""
    target_attainment: float | None = None
    """What the number of pods has to hold; None: the number of pods is only kept within its limits."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One pool at one moment; mappings are keyed by model or pod name and never mutated."""

    settings: Settings
    models: Mapping[str, Model]
    pods: Mapping[str, Pod]
    placements: tuple[Placement, ...] = ()
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    rates: Mapping[str, Rate] = field(default_factory=dict)
    asked_pods: int | None = None
    """The number of pods that the Deployment asks for now; None: not known, then no Scale is planned."""
    appraisal: Appraisal | None = None
    """What keeping and fetching each model is worth now; None: nothing is forecast, rates and recency decide."""
    traffic: Traffic | None = None
    """What was asked lately, of the models of the appraisal's catalog; needed to choose the number of pods."""
    shortfalls: Mapping[int, float] = field(default_factory=dict)
    """By number of pods: misses to count on for each one predicted; 1 where nothing was seen."""
    scaled_at_seconds: float | None = None
    """When the number of pods was last changed; None: not known, then it is long ago."""
    known_since_seconds: float | None = float("-inf")
    """Since when all that is asked of the pool is known; None: it is not known now, and no pod goes."""
    ready_pods: int | None = None
    """How many pods the cluster itself says are ready, a moment late; None: not known."""
    start_seconds: Measured | None = None
    """From the creation of a pod until it serves; None: never seen."""
    idle_since_seconds: float | None = None
    """Since when nothing was asked of the pool; None: not known, or something is asked now."""
