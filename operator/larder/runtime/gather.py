"""One pool at one moment, as the planner sees it: a pure function of what was declared, booked and heard."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from larder.api.resources import Model, ModelPool
from larder.core import metering
from larder.core import snapshot as core
from larder.runtime.books import Books, ModelBook, PodBook

_CHANGING_STATES = (core.PlacementState.LOADING, core.PlacementState.UNLOADING)


@dataclass(frozen=True, slots=True)
class Heard:
    """What gateways say: what waits, and request rates."""

    waiting: Mapping[str, core.Waiting] = field(default_factory=dict)
    rates: Mapping[str, core.Rate] = field(default_factory=dict)
    idle_since_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the Deployment asks for, and how many pods the cluster itself counts as ready; None: not known."""

    pods: int | None = None
    ready_pods: int | None = None


def gather(
    pool: ModelPool, models: Mapping[str, core.Model], books: Books, heard: Heard, asked: Asked
) -> core.Snapshot:
    """Return the pool's snapshot of these models."""
    newest = _newest_template(books)
    return core.Snapshot(
        settings=settings(pool),
        models=models,
        pods={
            name: pod(pool, book, standings(book, lambda placement: counted_bytes(placement, models)), newest)
            for name, book in books.pods.items()
        },
        placements=tuple(_placements(books, models)),
        waiting=heard.waiting,
        rates=heard.rates,
        asked_pods=asked.pods,
        ready_pods=asked.ready_pods,
        start_seconds=books.start_seconds,
        idle_since_seconds=heard.idle_since_seconds,
    )


def settings(pool: ModelPool) -> core.Settings:
    """The pool's settings in the planner's words."""
    return core.Settings(
        default_model_bytes=pool.memory.default_model_bytes,
        low_watermark=_low_watermark(pool),
        loads_at_once=pool.loading.concurrency,
        protection_seconds=pool.protection_seconds,
        min_pods=pool.pods.min,
        max_pods=pool.pods.max,
        fixed_pods=pool.pods.fixed,
        surge_pods=pool.pods.surge,
        scale_down_after_seconds=pool.pods.scale_down_after_seconds,
    )


def capacity_bytes(pool: ModelPool) -> int:
    """What models may take of one pod: up to the high mark, above which the budget is the reserve for growth."""
    return max(0, int(pool.memory.budget_bytes * pool.memory.high_watermark) - pool.memory.base_bytes)


def _newest_template(books: Books) -> str:
    """The template of the pod that was made last: a rollout goes there."""
    alive = [book.view for book in books.pods.values() if not book.view.deleting]
    return max(alive, key=lambda view: (view.created_seconds, view.name)).template if alive else ""


def _low_watermark(pool: ModelPool) -> float:
    """The low mark as a share of what models may take."""
    low = int(pool.memory.budget_bytes * pool.memory.low_watermark) - pool.memory.base_bytes
    return max(0, low) / max(1, capacity_bytes(pool))


def standings(book: PodBook, counted: Callable[[core.Placement], int]) -> metering.Standings:
    """What each model on a pod counts with, and whether it is changing there."""
    changing = book.reloading.keys() | book.changing
    return {
        name: metering.Standing(counted(placement), placement.state in _CHANGING_STATES or name in changing)
        for name, placement in book.placements.items()
    }


def counted_bytes(placement: core.Placement, models: Mapping[str, core.Model]) -> int:
    """What a placement counts with: the size that is known now, else what it was counted with when it began."""
    model = models.get(placement.model)
    return placement.memory_bytes if model is None or model.memory_bytes is None else model.memory_bytes


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the Models of a pool count with, without a whole snapshot."""

    pool: ModelPool
    serving: Mapping[str, Model]
    books: Books

    def counted_bytes(self, placement: core.Placement) -> int:
        """What a placement counts with."""
        model = self.serving.get(placement.model)
        if model is None:
            return placement.memory_bytes
        size = size_bytes(model, self.books, self.serving, self.pool.memory.default_model_bytes)
        return placement.memory_bytes if size is None else size

    def standings(self, book: PodBook) -> metering.Standings:
        """What each model on a pod counts with now, and whether it is changing there."""
        return standings(book, self.counted_bytes)


def withheld_bytes(book: PodBook, standing: metering.Standings) -> int:
    """What is taken on a pod beyond what is counted; while its meter is away, what it was last."""
    if book.ledger.quiet is None:
        return book.withheld_bytes
    return metering.withheld_bytes(book.ledger, standing)


def pod(pool: ModelPool, book: PodBook, standing: metering.Standings, newest_template: str = "") -> core.Pod:
    """One pod as a cache. What a reload in place takes on top is set aside, and what no model accounts for."""
    return core.Pod(
        name=book.view.name,
        state=_state(book),
        capacity_bytes=capacity_bytes(pool),
        quarantined_bytes=book.reloading_bytes + withheld_bytes(book, standing),
        used_bytes=metering.used_bytes(book.ledger, standing) if book.is_metered else None,
        unmanaged_bytes=sum(book.unmanaged.values()),
        since_seconds=book.view.created_seconds,
        ready=book.view.ready,
        outdated=bool(newest_template) and book.view.template != newest_template,
        leaking=bool(book.leak),
        retirement=book.retirement,
    )


def size_bytes(model: Model, books: Books, serving: Mapping[str, Model], default_bytes: int) -> int | None:
    """The size to plan a declared model with; None: not known. An ensemble takes its members with it."""
    book = books.known(model.served_name)
    own = _own_bytes(model, book)
    if not book.members:
        return own
    total = default_bytes if own is None else own
    for name in book.members:
        member = serving.get(name)
        known = None if member is None else _own_bytes(member, books.known(name))
        total += default_bytes if known is None else known
    return total


def _own_bytes(model: Model, book: ModelBook) -> int | None:
    """What was measured, else declared, else what it was counted with when it loaded; more where a load failed for
    memory. What another revision took says nothing of this one.
    """
    if book.footprint is not None and book.footprint.revision == model.revision:
        told: int | None = book.footprint.size_bytes
    else:
        told = book.last_bytes if model.memory_bytes is None else model.memory_bytes
    if told is None or book.least_bytes is None:
        return book.least_bytes if told is None else told
    return max(told, book.least_bytes)


def _state(book: PodBook) -> core.PodState:
    if book.view.deleting:
        return core.PodState.TERMINATING
    if not book.is_adopted or not book.is_reached:
        return core.PodState.STARTING
    if book.retirement is not None:
        return core.PodState.RETIRING
    return core.PodState.LEAKING if book.leak else core.PodState.SERVING


Kept = dict[str, tuple[tuple[object, ...], core.Model]]
"""Models by name as they were made last, each with what it was made of."""


def models_of(
    pool: ModelPool,
    serving: Mapping[str, Model],
    books: Books,
    names: Iterable[str] | None = None,
    kept: Kept | None = None,
) -> dict[str, core.Model]:
    """The models by served name: declared ones, `serving`, and those that are placed and no longer declared.

    `names`: of the declared ones only these. `kept` from one call to the next saves making what has not changed.
    """
    default_bytes = pool.memory.default_model_bytes
    wanted = serving if names is None else {name: serving[name] for name in names if name in serving}
    before: Kept = {} if kept is None else kept
    found = {name: _kept(model, books, serving, default_bytes, before) for name, model in wanted.items()}
    for name in before.keys() - found.keys():
        del before[name]
    for placement in books.placements():
        if placement.model not in found:
            found[placement.model] = core.Model(placement.model, placement.memory_bytes, deleted=True)
    return found


def _kept(model: Model, books: Books, serving: Mapping[str, Model], default_bytes: int, kept: Kept) -> core.Model:
    """The model as it was made before, unless something changed of it; an ensemble also depends on its members."""
    book = books.known(model.served_name)
    if book.members:
        return _model(model, books, serving, default_bytes)
    made_of = (model, *book.planned_by)
    found = kept.get(model.served_name)
    if found is None or found[0] != made_of:
        found = kept[model.served_name] = (made_of, _model(model, books, serving, default_bytes))
    return found[1]


def _model(model: Model, books: Books, serving: Mapping[str, Model], default_bytes: int) -> core.Model:
    book = books.known(model.served_name)
    failure = book.failure
    return core.Model(
        name=model.served_name,
        memory_bytes=size_bytes(model, books, serving, default_bytes),
        objective=core.Objective(model.slo.latency_seconds, model.slo.percentile, model.slo.cold_start_seconds),
        priority=model.priority,
        min_copies=model.min_copies,
        max_copies=model.max_copies,
        revision=model.revision,
        stateful=model.stateful,
        sequence_idle_seconds=model.sequence_idle_seconds,
        load_seconds=book.load_seconds,
        execution_seconds=book.execution_seconds,
        retry_at_seconds=failure.retry_at_seconds if failure is not None else None,
    )


def _placement_state(book: PodBook, placement: core.Placement) -> core.PlacementState:
    """A copy on a pod that does not answer is none that serves, and its memory is not free."""
    if not book.is_reached and placement.state is core.PlacementState.READY:
        return core.PlacementState.DRAINING
    return placement.state


def planned(book: PodBook, placement: core.Placement, memory_bytes: int, known: ModelBook) -> core.Placement:
    """A placement in the planner's eyes: with the size that is known now, the revision that a reload will bring, and
    when the model was last used.
    """
    coming = book.reloading.get(placement.model)
    return replace(
        placement,
        state=_placement_state(book, placement),
        memory_bytes=memory_bytes,
        revision=placement.revision if coming is None else coming.revision,
        last_used_seconds=known.last_used_seconds,
    )


def _placements(books: Books, models: Mapping[str, core.Model]) -> list[core.Placement]:
    found = []
    for book in books.pods.values():
        for name, placement in book.placements.items():
            found.append(planned(book, placement, counted_bytes(placement, models), books.known(name)))
    return found
