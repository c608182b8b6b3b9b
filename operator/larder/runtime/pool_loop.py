"""The loop of one pool: gather, plan, apply, each time something changed, for as long as this replica leads.

It wakes when pods, Models, the pool, what waits, or a task of its own changed something, and when a pause ends.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from larder.api import names
from larder.api.demand import Failure, Hint, Message
from larder.api.residency import decode
from larder.api.resources import ModelPool
from larder.core.plan import Action, Drain, Load, Plan, Reason, Unplaced
from larder.core.snapshot import PlacementState, Snapshot
from larder.errors import InvalidInputError
from larder.runtime import telemetry
from larder.runtime.adoption import begin_adoption
from larder.runtime.apply import apply
from larder.runtime.books import PodBook
from larder.runtime.cold import ColdRequests
from larder.runtime.declared import Declared
from larder.runtime.doubts import Doubts
from larder.runtime.failures import container_lost, failure_message, heal_failures
from larder.runtime.gates import set_gate
from larder.runtime.gather import Asked
from larder.runtime.looking import look_at_action, look_at_waiting
from larder.runtime.memory import remembered
from larder.runtime.metering import Metering
from larder.runtime.pods import PodView
from larder.runtime.predictions import Predictions
from larder.runtime.retirement import call_off, take_mark
from larder.runtime.state import PoolState
from larder.runtime.thinking import Since, think

log = logging.getLogger(__name__)

SCALE_SECONDS = 5.0
"""A change of the number of pods that is not seen by then is decided again."""
RETIRING_SECONDS = 1.0
"""How often a pod that goes is looked at when nothing else happens."""
NEVER_RETRY_AFTER_SECONDS = 30.0
"""What clients of a model that fits nowhere are told to wait."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the Triton Deployment asks for, why its pods can't be made, and how many its ReplicaSets count as ready."""

    pods: int
    failure: str = ""
    ready_pods: int | None = None


class World(Protocol):
    """What the API server shows of one pool."""

    def pool(self) -> ModelPool:
        """The pool."""

    def declared(self) -> Declared:
        """The Models that name it."""

    def pods(self) -> Iterable[PodView]:
        """Its pods."""

    def deployed(self) -> Deployed | None:
        """Its Triton Deployment; None: not there, or not yet seen."""

    def deployments(self) -> frozenset[str]:
        """The names of its Deployments."""


@dataclass(slots=True)
class PoolLoop:
    """Rounds of one pool. `after_round` is told when status may have changed."""

    state: PoolState
    world: World
    scale: Callable[[int], None]
    may_command: Callable[[], bool]
    after_round: Callable[[], None]
    doubts: Doubts
    predictions: Predictions
    metering: Metering
    cold: ColdRequests = field(init=False)
    unplaced: dict[str, Unplaced] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _asked_seconds: float | None = None
    _scaled: tuple[int, float] | None = None
    _advised: tuple[Action, ...] = ()
    _seen: Snapshot | None = None
    """What the last full plan was made of."""
    _cold_is_due: bool = False
    _changed_seconds: float | None = None
    """Since when, on the monotonic clock, the number of pods is the same, as far as this leader knows."""
    _known_seconds: float | None = None
    """Since when, on the same clock, all that is asked is known; None: a gateway is silent."""

    def __post_init__(self) -> None:
        self.cold = ColdRequests(self.state, self._carry)

    def wake(self) -> None:
        """Take another round soon; what is asked for in a large pool does not wait for it."""
        self._wake.set()
        if not self._cold_is_due:
            self._cold_is_due = True
            asyncio.get_running_loop().call_soon(self._serve_cold)

    def demand_changed(self, models: Iterable[str]) -> None:
        """Gateways say that these models wait or were used."""
        now = self.state.clock.unix()
        for name in models:
            self.state.books.model(name).last_used_seconds = now
        if self._asked_seconds is None and self.state.gateways.waiting():
            self._asked_seconds = self.state.clock.monotonic()
        self.wake()

    def known(self) -> Iterable[Message]:
        """What a gateway must know that connects now."""
        term = self.state.fence.term
        for book in self.state.books.pods.values():
            if book.is_adopted:
                yield Hint(book.view.uid, book.residency(term))
        for name in list(self.state.books.models):
            if message := failure_message(self.state, name):
                yield message
        yield from self.predictions.known()

    async def run(self) -> None:
        """Take rounds until cancelled."""
        while True:
            self._wake.clear()
            pause = await self._round()
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self) -> float:
        """One round; return the seconds until the next one is due without any change."""
        began = self.state.clock.monotonic()
        self._sync()
        self._foresee()
        now = self.state.clock.unix()
        thought = await think(self.state, self._asked(), self._since())
        self._seen = snapshot = thought.snapshot
        decided = thought.plan
        self.cold.renew(thought)
        self.state.books.desired_pods = decided.desired_pods
        self.unplaced = {item.model: item for item in decided.unplaced}
        if self.state.pool.mode == "Advise":
            self._advise(decided)
            if self.may_command():
                call_off(self.state)
        elif self.may_command():
            begun = self._carry(replace(decided, actions=self.cold.without_overtaken(decided)))
            self.cold.begun(begun)
            self._asked_seconds = None
        self.metering.look()
        self._answer_hopeless(snapshot)
        doubtful_until = self.doubts.look(snapshot.waiting)
        if snapshot.waiting or self.predictions.stand:
            # After the loads that this round began: those come first.
            asyncio.get_running_loop().call_soon(self.predictions.tell, self._look_at_waiting)
        self._set_gates(decided)
        self._measure(began)
        self.after_round()
        return self._pause(snapshot, now, doubtful_until)

    def _serve_cold(self) -> None:
        """Between full plans of a large pool: decide for what waits now."""
        self._cold_is_due = False
        if self.state.pool.mode != "Advise" and self.may_command() and self.cold.decide():
            self.wake()

    def _carry(self, decided: Plan) -> tuple[Action, ...]:
        """Begin what still holds of it."""
        begun = apply(
            self.state, decided, lambda action: look_at_action(self.state, action, self._asked()), self._scale
        )
        for pod in {action.pod for action in begun if isinstance(action, Load | Drain)}:
            self.metering.changed(self.state.books.pods[pod])
        if begun and self._seen is not None:
            self.state.forecasts.began(begun, replace(self._seen, waiting=self.state.gateways.waiting()))
        self._done(begun)
        return begun

    def _look_at_waiting(self) -> Snapshot:
        return look_at_waiting(self.state, self.state.gateways.waiting(), self._asked())

    def _scale(self, pods: int) -> None:
        self._scaled = (pods, self.state.clock.monotonic())
        self._changed_seconds = self.state.clock.monotonic()
        self.scale(pods)

    def _asked(self) -> Asked:
        """What the Deployment asks for, or was told a moment ago: its change is not seen at once."""
        deployed = self.world.deployed()
        if deployed is None:
            return Asked()
        pods, at_seconds = self._scaled or (deployed.pods, 0.0)
        fresh = self.state.clock.monotonic() - at_seconds < SCALE_SECONDS
        return Asked(pods if fresh else deployed.pods, deployed.ready_pods)

    def _since(self) -> Since:
        return Since(self._unix(self._changed_seconds), self._unix(self._known_seconds))

    def _unix(self, seconds: float | None) -> float | None:
        """A time of the monotonic clock in Unix seconds, whatever the wall clock did meanwhile."""
        clock = self.state.clock
        return None if seconds is None else clock.unix() - (clock.monotonic() - seconds)

    def _foresee(self) -> None:
        """Bring the forecast up to now. While a gateway is silent, what is asked may be more than is known."""
        state, now = self.state, self.state.clock.monotonic()
        self._changed_seconds = now if self._changed_seconds is None else self._changed_seconds
        known = now if self._known_seconds is None else self._known_seconds
        self._known_seconds = known if state.gateways.hears_all() else None
        state.forecasts.declare(state.declared.serving)
        state.forecasts.advance(state.gateways.take_coverage)
        state.forecasts.missed(state.gateways.waiting(), self._is_placed)

    def _is_placed(self, model: str) -> bool:
        return any(model in book.placements for book in self.state.books.pods.values())

    def _sync(self) -> None:
        state = self.state
        state.pool = state.report.pool = self.world.pool()
        state.declared = self.world.declared()
        views = list(self.world.pods())
        self._sync_pods({view.name: view for view in views if view.component == names.TRITON})
        state.gateways.follow(view for view in views if view.component == names.GATEWAY)
        for name, model in state.declared.serving.items():
            if name not in state.books.models:
                state.books.models[name] = remembered(model, state.clock.unix())
        heal_failures(state)
        _forget_models(state)

    def _sync_pods(self, views: Mapping[str, PodView]) -> None:
        books = self.state.books
        for name, book in list(books.pods.items()):
            if name not in views or views[name].uid != book.view.uid:
                del books.pods[name]
                self._forget(book)
        for name, view in views.items():
            book = books.pods.setdefault(name, PodBook(view))
            book.view = view
            take_mark(book)
            if book.adopted and book.adopted != view.container_id:
                log.info("the container of %s is another one; what was loaded there is gone", name)
                self.metering.container_ended(book, view.ended_for_memory)
                if not view.deleting:
                    container_lost(self.state, book)
                book.forget_container()
            if view.container_id and view.ip and not (book.is_adopted or book.adopting or view.deleting):
                begin_adoption(self.state, book)

    def _forget(self, book: PodBook) -> None:
        uid = book.view.uid
        book.forget_container()
        book.view = replace(book.view, container_id="")
        self.state.publisher.forget(uid)
        self.state.books.unpublished.pop(book.view.name, None)
        self.state.tasks.spawn(self.state.controls.forget(uid), f"forget {book.view.name}")

    def _done(self, begun: tuple[Action, ...]) -> None:
        for_cold = [
            action
            for action in begun
            if (isinstance(action, Load) and action.reason is Reason.COLD_REQUEST)
            or (isinstance(action, Drain) and action.for_model is not None)
        ]
        if for_cold and self._asked_seconds is not None:
            elapsed = self.state.clock.monotonic() - self._asked_seconds
            telemetry.DECISION_SECONDS.labels(*self.state.report.labels).observe(elapsed)
            self._asked_seconds = None

    def _advise(self, decided: Plan) -> None:
        """Say what would be done, once for as long as it stays the same."""
        for action in decided.actions:
            if not any(_same(action, before) for before in self._advised):
                model = self.state.model(action.model) if isinstance(action, Load | Drain) else None
                self.state.report.advised(action, model)
        self._advised = decided.actions

    def _answer_hopeless(self, snapshot: Snapshot) -> None:
        """Requests that wait for what can't be had are answered with the reason."""
        for name in snapshot.waiting:
            unplaced = self.unplaced.get(name)
            if unplaced is not None and unplaced.never:
                self.state.gateways.tell(Failure(name, unplaced.message, NEVER_RETRY_AFTER_SECONDS))
            elif message := failure_message(self.state, name):
                self.state.gateways.tell(message)

    def _set_gates(self, decided: Plan) -> None:
        """A pod is ready for the cluster once adopted and warm; it stays so until its container is another one."""
        advised = self.state.pool.mode == "Advise"
        loads = [a for a in decided.actions if isinstance(a, Load) and a.reason is not Reason.COLD_REQUEST]
        coming = set() if advised else {action.pod for action in loads}
        for book in self.state.books.pods.values():
            loading = any(p.state is PlacementState.LOADING for p in book.placements.values())
            was_warm = bool(book.view.gate) and book.gate is not False
            if book.retirement is not None and book.retirement.told_seconds is not None:
                set_gate(self.state, book, False)
            elif book.is_adopted:
                warm = was_warm or self._is_patient(book) or not (loading or book.view.name in coming)
                set_gate(self.state, book, warm)
            elif not _is_anothers(book):
                set_gate(self.state, book, False)

    def _is_patient(self, book: PodBook) -> bool:
        """Whether the pod was given time enough to warm up."""
        since = book.adopted_seconds
        return since is not None and self.state.clock.unix() - since >= self.state.timings.warm

    def _measure(self, began: float) -> None:
        labels = self.state.report.labels
        telemetry.PLAN_SECONDS.labels(*labels).observe(self.state.clock.monotonic() - began)
        if (desired := self.state.books.desired_pods) is not None:
            telemetry.DESIRED_PODS.labels(*labels).set(desired)
        counts = dict.fromkeys(PlacementState, 0)
        for placement in self.state.books.placements():
            counts[placement.state] += 1
        for kind, count in counts.items():
            telemetry.PLACEMENTS.labels(*labels, str(kind)).set(count)

    def _pause(self, snapshot: Snapshot, now: float, doubtful_until: float | None) -> float:
        """Until a failed load may be tried again, a protected model may go, or a request is too late."""
        due = [now + self.state.timings.resync]
        due += [now + self.state.timings.look_ahead] if snapshot.appraisal is not None else []
        due += _steps(snapshot, now)
        due += [doubtful_until] if doubtful_until is not None else []
        due += [at for item in self.unplaced.values() if (at := item.due_seconds(now)) is not None]
        due += [m.retry_at_seconds for m in snapshot.models.values() if m.retry_at_seconds is not None]
        if snapshot.waiting or self.unplaced:
            protection = snapshot.settings.protection_seconds
            due += [p.since_seconds + protection for p in snapshot.placements]
            due += [waiting.deadline_seconds for waiting in snapshot.waiting.values()]
        return max(0.001, min(at for at in due if at > now) - now)


def _same(one: Action, other: Action) -> bool:
    """The same advice, whatever the numbers in its sentence."""
    return replace(one, message="") == replace(other, message="")


def _steps(snapshot: Snapshot, now: float) -> list[float]:
    """When the next step of a pod that goes, or of the number of pods, may be due."""
    settle = snapshot.settings.scale_down_after_seconds
    times = (snapshot.idle_since_seconds, snapshot.scaled_at_seconds, snapshot.known_since_seconds)
    since = [at for at in times if at is not None]
    retiring = any(p.retirement for p in snapshot.pods.values())
    return [at + settle for at in since] + ([now + RETIRING_SECONDS] if retiring else [])


def _is_anothers(book: PodBook) -> bool:
    """Whether the container that runs was taken over by a leader before this one, which judged its gate."""
    try:
        return bool(book.view.residency) and decode(book.view.residency).container_id == book.view.container_id
    except InvalidInputError:
        return False


def _forget_models(state: PoolState) -> None:
    """Books of Models that are neither declared nor placed are closed."""
    placed = {placement.model for placement in state.books.placements()}
    for name in [n for n in state.books.models if n not in placed and n not in state.declared.serving]:
        del state.books.models[name]
