"""The planner: one pure function from a snapshot to a plan.

Order of means, cheapest first: what is resident stays; load into free memory; evict what is worth less.

A plan emits Load, Drain, Scale and what leads a pod out. It never emits Unload: the runtime carries a drained
placement through Draining and Unloading by itself once the gateways have acknowledged, or two seconds have passed.
Until such a placement has vanished from the snapshot its bytes count against its pod, and they count as on their way
out: nothing more is evicted where they will suffice, and the load follows in the plan that sees them gone.
"""

from larder.core.books import Books, open_books
from larder.core.copies import add_copies
from larder.core.fetching import fetch_ahead
from larder.core.moving import move_from_leaving_pods, warm_new_pods
from larder.core.placing import Claim, Draft, place
from larder.core.plan import Plan, Reason
from larder.core.retiring import change_number_of_pods
from larder.core.snapshot import Model, Snapshot, Waiting
from larder.core.upkeep import replace_revisions, retire_deleted, trim_copies, trim_overfull_pods
from larder.core.worth import load_seconds


def plan(snapshot: Snapshot, now_seconds: float) -> Plan:
    """Decide everything for one pool at one moment. Deterministic; raises nothing on a well-formed snapshot."""
    draft = Draft(open_books(snapshot), now_seconds)
    retire_deleted(draft)
    trim_overfull_pods(draft)
    trim_copies(draft)
    replace_revisions(draft)
    _serve_waiting(draft)
    _keep_min_copies(draft)
    move_from_leaving_pods(draft)
    warm_new_pods(draft)
    add_copies(draft)
    fetch_ahead(draft)
    desired = change_number_of_pods(draft)
    return Plan(tuple(draft.actions), desired, tuple(draft.unplaced))


def load_order(books: Books, model: Model, held: Waiting, now_seconds: float) -> tuple[int, float, float, str]:
    """Where a waiting model stands in the queue for loads: priority, then urgency, then the earliest deadline.

    One load serves all that wait for its model, as in pull-based broadcast, where serving the largest total wait
    per length first is close to optimal (Vaidya and Hameed 1999; Aksoy and Franklin 1999). The length of a load is
    what it takes of the pod: its time and its memory. The requests are taken as spread evenly since the oldest.
    """
    effort = load_seconds(model) * books.size_bytes(model)
    return (-model.priority, -waited_seconds(held, now_seconds) / effort, held.deadline_seconds, model.name)


def waited_seconds(held: Waiting, now_seconds: float) -> float:
    """What requests have waited together, taken as spread evenly since the oldest."""
    return max(0.0, now_seconds - held.oldest_seconds) * (held.count + 1) / 2.0


def serve(draft: Draft, model: Model, held: Waiting) -> None:
    """Decide for one model that is waited for."""
    age_seconds = max(0.0, draft.now_seconds - held.oldest_seconds)
    why = f"{held.count} waiting, the oldest for {age_seconds:.3f} s"
    place(draft, model, Reason.COLD_REQUEST, why, claim(model, held, draft.now_seconds))


def claim(model: Model, held: Waiting, now_seconds: float) -> Claim | None:
    """What requests have waited together and will at least: that much others may be made to wait for them.

    As in ski rental (Karlin, Manasse, Rudolph and Sleator 1988): to rent, here to wait, until that has cost as much as
    to buy, here to evict, costs at most twice the best in hindsight. Who would be too late by it does not wait.
    """
    load = load_seconds(model)
    if model.objective.latency_seconds is not None or now_seconds + 2.0 * load >= held.deadline_seconds:
        return None
    return Claim(waited_seconds(held, now_seconds) + held.count * load, (held.count + 1) / 2.0)


def _serve_waiting(draft: Draft) -> None:
    books = draft.books
    waiting = [(m, w) for n, w in books.snapshot.waiting.items() if (m := books.snapshot.models.get(n))]
    cold = [(m, w) for m, w in waiting if w.count > 0 and not m.deleted and not books.answering_copies(m.name)]
    cold.sort(key=lambda entry: load_order(books, entry[0], entry[1], draft.now_seconds))
    for model, held in cold:
        serve(draft, model, held)


def _keep_min_copies(draft: Draft) -> None:
    short: list[tuple[int, int, str, Model]] = []
    for model in draft.pinned():
        missing = _wanted_copies(model) - len(draft.books.serving_copies(model.name))
        short += [(n, -model.priority, model.name, model) for n in range(missing)]
    for _, _, _, model in sorted(short, key=lambda entry: entry[:3]):
        have = len(draft.books.serving_copies(model.name))
        if model.name not in draft.refused:
            place(draft, model, Reason.MIN_COPIES, f"{model.name} has {have} copies of at least {model.min_copies}")


def _wanted_copies(model: Model) -> int:
    return model.min_copies if model.max_copies is None else min(model.min_copies, model.max_copies)
