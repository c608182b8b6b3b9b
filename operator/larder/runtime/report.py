"""What is told of every decision and its outcome: Event, metric, and the last decision in the status."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from larder.adapters.kube.events import Note, Regarding
from larder.api import names
from larder.api.resources import Model, ModelPool
from larder.api.status import Decision
from larder.core.plan import Action, Drain, Load, Scale, Unload
from larder.runtime import telemetry
from larder.runtime.books import Books


class Notes(Protocol):
    """Where Events go."""

    def record(self, note: Note) -> None:
        """Write this soon."""


@dataclass(slots=True)
class Reporter:
    """Reports for one pool. Every method returns at once."""

    pool: ModelPool
    books: Books
    notes: Notes
    now: Callable[[], float]

    @property
    def labels(self) -> tuple[str, str]:
        """The metrics' labels of the pool."""
        return (self.pool.meta.namespace, self.pool.meta.name)

    def decided(self, action: Action, model: Model | None) -> None:
        """An action begins."""
        telemetry.ACTIONS.labels(*self.labels, type(action).__name__, str(action.reason)).inc()
        self._remember(action)
        self._note(model, "Normal", type(action).__name__, str(action.reason), action.message)

    def advised(self, action: Action, model: Model | None) -> None:
        """An action would begin if the pool were not in mode Advise."""
        telemetry.ADVISED.labels(*self.labels, type(action).__name__, str(action.reason)).inc()
        self._remember(action)
        self._note(model, "Normal", f"Advise{type(action).__name__}", str(action.reason), f"Advice: {action.message}")

    def dropped(self, action: Action) -> None:
        """A planned action no longer held."""
        telemetry.DROPPED.labels(*self.labels, type(action).__name__).inc()

    def loaded(self, model: Model | None, name: str, pod: str, seconds: float | None) -> None:
        """A load ended well; `seconds` None: nobody measured it."""
        took = "" if seconds is None else f" in {seconds:.3f} s"
        self._note(model, "Normal", "Load", "Loaded", f"{name} is ready on {pod}{took}")
        if seconds is not None:
            telemetry.LOAD_SECONDS.labels(*self.labels).observe(seconds)

    def told(self, seconds: float) -> None:
        """Gateways hear of a model that Triton had ready so long ago."""
        telemetry.HINT_SECONDS.labels(*self.labels).observe(seconds)

    def unloaded(self, model: Model | None, name: str, pod: str) -> None:
        """An unload was seen to end."""
        self._note(model, "Normal", "Unload", "Unloaded", f"{name} has left {pod}")

    def measured(self, model: Model | None, message: str) -> None:
        """A model was seen to take more than was known of it."""
        self._note(model, "Normal", "Measure", "Measured", message)

    def failed(self, model: Model | None, name: str, message: str) -> None:
        """A load failed."""
        telemetry.LOADS_FAILED.labels(*self.labels).inc()
        self._note(model, "Warning", "Load", "LoadFailed", f"{name}: {message}")

    def lost(self, model: Model | None, name: str, message: str) -> None:
        """A load ended unknown and is done again."""
        self._note(model, "Warning", "Load", "LoadLost", f"{name}: {message}")

    def unacknowledged(self, pod: str, gateways: tuple[str, ...]) -> None:
        """A drain goes on although these gateways did not say that they stopped routing."""
        telemetry.DRAINS_UNACKNOWLEDGED.labels(*self.labels).inc()
        text = f"{', '.join(gateways)} did not say in time that routing to {pod} stopped"
        self._note(None, "Warning", "Drain", "DrainNotAcknowledged", text)

    def warn(self, action: str, reason: str, message: str) -> None:
        """Something is wrong with the pool."""
        self._note(None, "Warning", action, reason, message)

    def _remember(self, action: Action) -> None:
        decision = Decision(
            at_seconds=self.now(),
            action=type(action).__name__,
            reason=str(action.reason),
            message=action.message,
            model=action.model if isinstance(action, Load | Drain | Unload) else None,
            pod=action.victim if isinstance(action, Scale) else action.pod,
        )
        self.books.last_decision = decision
        if isinstance(action, Scale):
            self.books.last_scaling = action.message
        if decision.model is not None:
            self.books.model(decision.model).last_decision = decision

    def _note(
        self, model: Model | None, kind: Literal["Normal", "Warning"], action: str, reason: str, message: str
    ) -> None:
        about = _model(model) if model is not None else _pool(self.pool)
        self.notes.record(Note(about, kind, action, reason, message))


def _model(model: Model) -> Regarding:
    return Regarding(names.API_VERSION, "Model", model.meta.namespace, model.meta.name, model.meta.uid)


def _pool(pool: ModelPool) -> Regarding:
    return Regarding(names.API_VERSION, "ModelPool", pool.meta.namespace, pool.meta.name, pool.meta.uid)
