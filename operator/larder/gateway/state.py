"""What one gateway knows now (pods, Models, hints, failures, what Envoy routes by) and who is told of a change.

Lives on one event loop; every method but the waits returns at once.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf

from larder.api.demand import Dead, Failure, Prediction, Waiting
from larder.api.demand import Hint as HintMessage
from larder.api.residency import Resident
from larder.gateway import routes
from larder.gateway.board import Entry
from larder.gateway.holding import Failures, Held, KnownFailure, Room, Ticket
from larder.gateway.routes import Endpoint, Hint, Pod, Table, Version


@dataclass(frozen=True, slots=True)
class Declared:
    """A Model for the gateway; `latency_seconds` and `cold_start_seconds` are its objective's, if it has one."""

    served_name: str
    stateful: bool = False
    revision: str = ""
    latency_seconds: float | None = None
    cold_start_seconds: float = 0.0
    priority: int = 0


class Pulse:
    """Counts changes; whoever remembers a count can wait for the next one and misses none."""

    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Something changed."""
        self.count += 1
        self._event.set()
        self._event = asyncio.Event()

    async def after(self, count: int) -> int:
        """Return the count once it is over `count`. Unbounded: the waiting task's owner cancels it."""
        while self.count <= count:
            await self._event.wait()
        return self.count


class State:
    """The gateway's present. `routed`, `demand` and `seen` beat when what is routed, waits, or is seen changes.

    `listener` is called with each model that something changed for and that is waited for, `report` with copies that
    are found dead.
    """

    def __init__(self, held: Held) -> None:
        self.table = Table()
        self.pods: Mapping[str, Pod] | None = None
        self.models: Mapping[str, Declared] | None = None
        self.acknowledged: Mapping[str, Version] = {}
        self.room = Room()
        self.held = held
        self.listener: Callable[[str], None] = lambda model: None
        self.report: Callable[[Dead], None] = lambda dead: None
        self.draining = False
        self.routed, self.demand, self.seen = Pulse(), Pulse(), Pulse()
        self._hints: dict[str, Hint] = {}
        self._failures = Failures()
        self._bells: dict[str, asyncio.Event] = {}
        self._ready_at: dict[str, float] = {}
        self._changed: set[str] = set()

    @staticmethod
    def now_seconds() -> float:
        """The one monotonic clock of this gateway."""
        return time.monotonic()

    @property
    def complete(self) -> bool:
        """Whether both lists were read: only then is an unknown name unknown, and is the table whole."""
        return self.pods is not None and self.models is not None

    def put_pods(self, pods: Mapping[str, Pod]) -> None:
        """Take over the pods of this pool, by uid."""
        before, self.pods = self.pods, pods
        known = before or {}
        self._place(*[uid for uid in known.keys() | pods.keys() if known.get(uid) is not pods.get(uid)])
        if before is None:
            self.routed.beat()

    def put_models(self, models: Iterable[Declared]) -> None:
        """Take over the declared Models. Of two with one served name, stateful is the careful one."""
        found: dict[str, Declared] = {}
        for model in models:
            present = found.get(model.served_name)
            found[model.served_name] = present if present is not None and present.stateful else model
        before, self.models = self.models, found
        known = before or {}
        changed = {name for name in known.keys() | found.keys() if known.get(name) != found.get(name)}
        self._changed |= changed
        if changed or before is None:
            self.routed.beat()
        self.ring(*self._concerned())

    def offer(self, message: HintMessage) -> None:
        """Take a hint; it counts when it is newer than what is known of the container that runs."""
        offered = Hint(message.residency, self.now_seconds())
        self._hints[message.pod_uid] = routes.newest(self._hints.get(message.pod_uid), offered)
        self._place(message.pod_uid)

    def drop_old_hints(self) -> None:
        """Forget hints that their annotations did not follow."""
        kept = routes.unexpired(self._hints, self.now_seconds())
        if len(kept) != len(self._hints):
            dropped, self._hints = self._hints.keys() - kept.keys(), kept
            self._place(*dropped)

    def fail(self, failure: Failure) -> None:
        """Take why a model can't be had; who waits for it is answered."""
        self._failures.put(failure, self.now_seconds())
        self.ring(failure.model)

    def predict(self, prediction: Prediction) -> None:
        """Take when a model is expected to be ready."""
        self._ready_at[prediction.model] = self.now_seconds() + prediction.ready_in_seconds
        self.ring(prediction.model)

    def ready_at_seconds(self, model: str) -> float | None:
        """Return when a model without a copy is expected to have one; None: nobody knows."""
        return None if self.copies(model) else self._ready_at.get(model)

    def promise(self, model: str, until_seconds: float) -> None:
        """Want a model until then, though who asked for it was sent away."""
        self.room.promise(model, self.now_seconds(), until_seconds)
        self.demand.beat()

    def tidy(self) -> None:
        """Forget what time has overtaken."""
        now = self.now_seconds()
        self.drop_old_hints()
        self._ready_at = {model: at for model, at in self._ready_at.items() if at > now}
        if self.room.end_promises(now, self.table.copies.keys()):
            self.demand.beat()

    def failure(self, model: str) -> KnownFailure | None:
        """Return why the model can't be had now, if that is known."""
        return self._failures.of(model, self.now_seconds())

    def acknowledge(self, versions: Mapping[str, Version]) -> None:
        """Envoy routes by these versions from now on."""
        if versions != self.acknowledged or not self.seen.count:
            self.acknowledged = dict(versions)
            self.seen.beat()

    def take_changes(self) -> dict[str, Entry | None]:
        """Return what the routing board has to say of each Model that changed since the last call; None: it is gone."""
        names, self._changed = self._changed, set()
        declared = self.models or {}
        return {name: _entry(declared[name], self.copies(name)) if name in declared else None for name in names}

    def copies(self, model: str) -> tuple[Endpoint, ...]:
        """Return where the model may be asked now."""
        return self.table.copies.get(model, ())

    def stateful(self, model: str) -> bool:
        """Whether a request of this model must not be repeated."""
        declared = (self.models or {}).get(model)
        return declared is not None and declared.stateful

    def declared_revision(self, model: str) -> str | None:
        """Return the revision that the Model wants; None where nobody declares it."""
        declared = (self.models or {}).get(model)
        return None if declared is None else declared.revision

    def resident(self, pod_uid: str, model: str) -> Resident | None:
        """Return what the pod's record in force says of a copy; None where there is none."""
        pod = (self.pods or {}).get(pod_uid)
        record = None if pod is None else routes.in_force(pod, self._hints.get(pod_uid))
        return None if record is None else record.models.get(model)

    def answer_seconds(self, model: str) -> float:
        """Within which an answer meets the objective of a model that had to be loaded; infinite without one."""
        declared = (self.models or {}).get(model)
        if declared is None or declared.latency_seconds is None:
            return inf
        return declared.latency_seconds + declared.cold_start_seconds

    def declared(self, model: str) -> bool | None:
        """Whether a Model declares this name; None while the list is not read."""
        return None if self.models is None else model in self.models

    def declared_names(self) -> Collection[str]:
        """Return the names that Models declare, as far as they are read."""
        return (self.models or {}).keys()

    def waiting(self) -> Waiting:
        """Return all that waits here."""
        return self.room.waiting(self.now_seconds())

    def enter(self, ticket: Ticket) -> None:
        """Count a request as waiting, and say so."""
        self.room.enter(ticket)
        self.demand.beat()

    def leave(self, ticket: Ticket) -> None:
        """Forget a waiting request, and say so."""
        if self.room.leave(ticket):
            self.demand.beat()

    def pace(self, model: str, *, is_served: bool) -> None:
        """Note whether who waits for this model only waits for a turn."""
        if self.room.pace(model, is_served=is_served):
            self.demand.beat()

    def bell(self, model: str) -> asyncio.Event:
        """Return an event that is set at the next change for this model. Take it before looking."""
        return self._bells.setdefault(model, asyncio.Event())

    def ring(self, *models: str) -> None:
        """Wake who waits for these models, those of the highest priority first."""
        for model in sorted(models, key=self._priority, reverse=True):
            if event := self._bells.pop(model, None):
                event.set()
            self.listener(model)

    def _priority(self, model: str) -> int:
        declared = (self.models or {}).get(model)
        return 0 if declared is None else declared.priority

    def _concerned(self) -> set[str]:
        """The models that anybody waits for."""
        return self._bells.keys() | set(self.room.models())

    def _place(self, *uids: str) -> None:
        """Take over what these pods serve now."""
        before: dict[str, routes.Copies] = {}
        moved = False
        for uid in uids:
            was = self.table.put(uid, (self.pods or {}).get(uid), self._hints.get(uid))
            moved = moved or was is not None
            before = (was or {}) | before
        for model, copies in before.items():
            if not copies and self.copies(model):
                self._failures.forget(model)
                self._ready_at.pop(model, None)
        self._changed |= before.keys()
        if moved:
            self.routed.beat()
        self.ring(*[model for model in self._concerned() & before.keys() if self.copies(model) != before[model]])


def _entry(declared: Declared, copies: tuple[Endpoint, ...]) -> Entry:
    hot = declared.latency_seconds
    cold = None if hot is None else hot + declared.cold_start_seconds
    return Entry(hot, cold, declared.stateful, copies)
