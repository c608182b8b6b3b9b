"""What the operator knows of one pool beyond the API server: placements by pod, and what models taught it.

Mutable, and touched from one event loop only. A new leader makes it anew from annotations and Triton's index.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from larder.api.residency import Residency, Resident
from larder.api.status import Decision
from larder.core.metering import MIB, Ledger
from larder.core.snapshot import Measured, Placement, PlacementState, Retirement
from larder.runtime.pods import PodView

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """The last load failed. `spec` is (uid, generation) of the Model it failed for: another one is tried at once."""

    message: str
    at_seconds: float
    attempts: int
    spec: tuple[str, int]
    reload: bool = False
    missing_members: tuple[str, ...] = ()

    @property
    def retry_at_seconds(self) -> float:
        """When the next try is due: pauses double from one second to five minutes."""
        return self.at_seconds + min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self.attempts - 1, 16))


@dataclass(frozen=True, slots=True)
class Coming:
    """What replaces a model in place: its revision, and its bytes beside those of the copy that serves."""

    revision: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """What copies of one revision were seen to take: the most, and over loads the mean with its spread."""

    revision: str
    high_bytes: int
    loads: Measured | None = None

    @property
    def size_bytes(self) -> int:
        """What to plan with, in whole MiB: the most that was seen, or what another load may well take."""
        spread = 0.0 if self.loads is None else self.loads.mean + 2.0 * self.loads.deviation
        return math.ceil(max(self.high_bytes, spread) / MIB) * MIB


@dataclass(slots=True)
class PodBook:
    """One Triton pod. `adopted` is the container whose index was read; only that one takes commands.

    `reloading` maps a model to what replaces it in place; the bytes of both count. `changing` are the
    models that a task of ours changes now. `ledger` is what its meter taught; while it `is_metered` no more,
    `withheld_bytes` keeps what was withheld last. `measuring` was never measured, and its load was not read yet.
    """

    view: PodView
    adopted: str = ""
    adopting: bool = False
    placements: dict[str, Placement] = field(default_factory=dict)
    unmanaged: dict[str, int] = field(default_factory=dict)
    reloading: dict[str, Coming] = field(default_factory=dict)
    changing: set[str] = field(default_factory=set)
    leaking: str = ""
    silent: bool = False
    """It does not answer, though nobody says that it is gone."""
    unreturned: str = ""
    ended: dict[str, float] = field(default_factory=dict)
    """Models whose own process the meter saw and sees no more, by when on the monotonic clock."""
    ledger: Ledger = field(default_factory=Ledger)
    is_metered: bool = False
    withheld_bytes: int = 0
    meter_error: str = ""
    measuring: str = ""
    generation: int = 0
    gate: bool | None = None
    adopted_seconds: float | None = None
    """When this leader took its container over."""
    retirement: Retirement | None = None
    marking: str | None = None
    """What was last written on the pod of its retirement and is not yet seen there; empty: that it stays."""

    @property
    def is_adopted(self) -> bool:
        """Whether what is loaded is known, for the container that runs now."""
        return bool(self.adopted) and self.adopted == self.view.container_id

    @property
    def reloading_bytes(self) -> int:
        """What the new copies of models take that are reloaded in place."""
        return sum(coming.memory_bytes for coming in self.reloading.values())

    @property
    def leak(self) -> str:
        """Why nothing more is loaded here: an unload that does not end, or memory that did not come back."""
        return self.leaking or self.unreturned

    @property
    def is_reached(self) -> bool:
        """Whether nothing says that what is sent to the pod does not arrive."""
        return not self.silent and not self.view.lost

    def forget_container(self) -> None:
        """The container is another one: nothing of what was loaded is there any more."""
        self.adopted, self.silent, self.leaking, self.unreturned, self.measuring = "", False, "", "", ""
        self.ledger, self.withheld_bytes = Ledger(), 0
        self.placements.clear()
        self.unmanaged.clear()
        self.reloading.clear()
        self.changing.clear()
        self.ended.clear()

    def move(self, model: str, state: PlacementState, now_seconds: float) -> None:
        """Note a placement's next state."""
        self.placements[model] = replace(self.placements[model], state=state, since_seconds=now_seconds)

    def residency(self, term: int) -> Residency:
        """What the pod may be sent requests for, as it is published; loading models are not in it."""
        models = {
            name: Resident(p.revision, p.memory_bytes, p.since_seconds, p.state is PlacementState.READY)
            for name, p in self.placements.items()
            if p.state in (PlacementState.READY, PlacementState.DRAINING)
        }
        return Residency(self.adopted, term, self.generation, models)


@dataclass(slots=True)
class ModelBook:
    """What is known of a model over all its placements. None: never seen."""

    failure: LoadFailure | None = None
    load_seconds: Measured | None = None
    execution_seconds: Measured | None = None
    footprint: Footprint | None = None
    queue_seconds: Measured | None = None
    least_bytes: int | None = None
    members: tuple[str, ...] | None = None
    members_revision: str = ""
    last_bytes: int | None = None
    last_used_seconds: float | None = None
    last_decision: Decision | None = None
    waits_because: str = ""
    lost_loads: int = 0
    """Loads in a row whose end nobody told, and of which Triton knows nothing."""

    @property
    def planned_by(self) -> tuple[object, ...]:
        """All that a plan is made of: where it is the same as before, so is the model in the planner's eyes."""
        return (
            self.failure,
            self.footprint,
            self.load_seconds,
            self.execution_seconds,
            self.least_bytes,
            self.last_bytes,
        )


_NOTHING = ModelBook()


@dataclass(slots=True)
class Books:
    """One pool."""

    pods: dict[str, PodBook] = field(default_factory=dict)
    models: dict[str, ModelBook] = field(default_factory=dict)
    last_decision: Decision | None = None
    desired_pods: int | None = None
    """What the last plan wanted, replacements aside."""
    last_scaling: str = ""
    """Why the number of pods was last changed, in a sentence."""
    start_seconds: Measured | None = None
    """From the creation of a pod until it serves."""
    began_seconds: float = 0.0
    """When this leader took the pool over."""
    unacknowledged: dict[str, float] = field(default_factory=dict)
    unpublished: dict[str, str] = field(default_factory=dict)

    def model(self, name: str) -> ModelBook:
        """The book of one model, begun if need be."""
        return self.models.setdefault(name, ModelBook())

    def known(self, name: str) -> ModelBook:
        """What is known of one model, to read; an empty book where nothing is."""
        return self.models.get(name, _NOTHING)

    def placements(self) -> Iterator[Placement]:
        """All placements of the pool."""
        for pod in self.pods.values():
            yield from pod.placements.values()

    def ensembles_with(self, pod: PodBook, member: str) -> list[str]:
        """Ensembles on the pod that call this model; it can't leave Triton before them."""
        return [name for name in pod.placements if member in (self.model(name).members or ()) and name != member]


def learned(before: Measured | None, value: float, now_seconds: float) -> Measured:
    """Return the measurement with one more sample; the newest tenth weighs as much as all before."""
    if before is None:
        return Measured(value, 0.0, 1, now_seconds)
    weight = max(1.0 / (before.samples + 1), 0.1)
    mean = before.mean + weight * (value - before.mean)
    variance = (1.0 - weight) * (before.deviation**2 + weight * (value - before.mean) ** 2)
    return Measured(mean, variance**0.5, before.samples + 1, now_seconds)


def resized(before: Footprint | None, size_bytes: int, revision: str, at_seconds: float, whole: bool) -> Footprint:
    """Return what is known with one more size; `whole`: of a load, which a new revision begins anew with."""
    if before is None or before.revision != revision:
        before = Footprint(revision, 0)
    loads = learned(before.loads, float(size_bytes), at_seconds) if whole else before.loads
    return Footprint(revision, max(before.high_bytes, size_bytes), loads)
