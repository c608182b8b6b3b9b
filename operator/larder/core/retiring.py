"""The number of pods and the life of a pod that goes, step by step, each a plan's action on what is seen.

Fewer pods: the one that is cheapest to rebuild is retired, its models move, the cluster is told to take it first,
and only when it was seen to know is one pod fewer asked for. If it takes another all the same, that is a loss like
any other and the retired pod stays. A leaking pod is replaced in the same way, by one pod more before it goes where
the pool allows a surge. One pod at a time. Where a step stands is written on the pod, so that a new leader goes on.
"""

from larder.core.books import PodBooks
from larder.core.eviction import is_in_sequence
from larder.core.moving import GOING
from larder.core.placing import Draft
from larder.core.plan import Dismiss, Keep, Reason, Retire, Scale
from larder.core.sizing import Size, size_pool
from larder.core.snapshot import PlacementState, Pod, PodState, Retirement
from larder.core.units import counted
from larder.core.worth import resident_worth

MOVE_SECONDS = 300.0
"""So long a pod that goes waits for its models to be ready elsewhere."""
RECYCLE_GRACE_SECONDS = 300.0
"""So long a leaking pod waits for the pod that replaces it."""
SEEN_SECONDS = 30.0
"""So long the cluster is given to show that it knows which pod goes first."""


def change_number_of_pods(draft: Draft) -> int:
    """Decide the next step; return the number of pods to have, replacements aside."""
    asked, pods = draft.books.snapshot.asked_pods, _alive(draft)
    marked = sorted((p for p in pods if p.retirement), key=lambda p: (_mark(p).since_seconds, p.name))
    known = len(pods) if asked is None else asked
    size = size_pool(draft, known - sum(_surge(draft, p, known) for p in marked))
    if asked is None:
        return size.pods
    if marked:
        _carry_on(draft, marked[0], size, asked)
        draft.actions += [Keep(p.name, _mark(p).reason, f"{marked[0].name} goes first") for p in marked[1:]]
    elif not _restore(draft, asked):
        _begin(draft, size, asked)
    return size.pods


def _mark(pod: Pod) -> Retirement:
    assert pod.retirement is not None
    return pod.retirement


def _alive(draft: Draft) -> list[Pod]:
    return [p.pod for p in draft.books.pods.values() if p.pod.state is not PodState.TERMINATING]


def _surge(draft: Draft, pod: Pod, asked: int) -> int:
    """Pods that are asked for in this one's place; the user may allow none any more."""
    mark = _mark(pod)
    is_lowered = mark.to_pods is not None and asked <= mark.to_pods
    return 0 if is_lowered else min(mark.surge, draft.books.snapshot.settings.surge_pods)


def _scale(draft: Draft, size: Size, pods: int, asked: int) -> None:
    if pods != asked:
        draft.actions.append(Scale(pods, size.reason, f"{size.why}; from {asked} to {counted(pods, 'pod')}"))


def _restore(draft: Draft, asked: int) -> bool:
    """A pod that was replaced without a surge is on its way: ask for the one that follows it. True: wait for more."""
    going = [p.pod for p in draft.books.pods.values() if p.pod.state is PodState.TERMINATING and p.pod.retirement]
    for pod in going:
        mark = _mark(pod)
        if mark.back_to_pods is not None and asked == mark.to_pods:
            text = f"{pod.name} goes and is replaced; from {asked} to {counted(mark.back_to_pods, 'pod')}"
            draft.actions.append(Scale(mark.back_to_pods, Reason.RECYCLE, text))
            return True
    return False


def _begin(draft: Draft, size: Size, asked: int) -> None:
    if size.pods > asked:
        _scale(draft, size, size.pods, asked)
    elif size.pods < asked:
        _shrink(draft, size, asked)
    else:
        _recycle(draft, size, asked)


def _shrink(draft: Draft, size: Size, asked: int) -> None:
    """What does not serve yet goes at once, and first; of those that serve one is chosen."""
    alive = _alive(draft)
    starting = sum(p.state is PodState.STARTING and not p.ready for p in alive)
    idle = max(0, asked - len(alive)) + starting
    if idle:
        _scale(draft, size, max(size.pods, asked - idle), asked)
        return
    going = any(p.pod.retirement for p in draft.books.pods.values())
    if going or any(p.outdated or p.state is PodState.STARTING or not p.ready for p in alive):
        return
    victim = _cheapest(draft)
    if victim is not None:
        text = f"{size.why}; of {asked} pods {victim.pod.name} is the cheapest to rebuild"
        draft.actions.append(Retire(victim.pod.name, size.reason, text))


def _cheapest(draft: Draft) -> PodBooks | None:
    """The pod whose loss costs least: leaking before sound, then by what only it holds. None: all are in use."""
    pods = [p for p in draft.books.pods.values() if p.pod.state is not PodState.TERMINATING]
    free = [p for p in pods if not any(_in_sequence(draft, p, name) for name in p.ready)]
    return min(free, key=lambda p: _cost(draft, p), default=None)


def _in_sequence(draft: Draft, pod: PodBooks, name: str) -> bool:
    return is_in_sequence(draft.books.snapshot.models.get(name), pod.ready[name], draft.now_seconds)


def _cost(draft: Draft, pod: PodBooks) -> tuple[bool, int, int, float, str]:
    snapshot, worths = draft.books.snapshot, []
    for name, placement in pod.ready.items():
        model = snapshot.models.get(name)
        if model is not None and not model.deleted and len(draft.books.all_copies(name)) < 2:
            worths.append(resident_worth(snapshot, placement, 1, draft.now_seconds))
    highest = max((priority for priority, _ in worths), default=-(2**31))
    value = sum(value for _, value in worths)
    return (pod.pod.state is not PodState.LEAKING, pod.loading, highest, value, pod.pod.name)


def _recycle(draft: Draft, size: Size, asked: int) -> None:
    """A leaking pod is replaced; during a rollout that happens anyway."""
    alive = _alive(draft)
    leaking = sorted(p.name for p in alive if p.state is PodState.LEAKING)
    going = any(p.pod.retirement for p in draft.books.pods.values())
    if not leaking or going or any(p.outdated for p in alive):
        return
    surge = draft.books.snapshot.settings.surge_pods
    text = f"{leaking[0]} leaks memory and is replaced"
    draft.actions.append(Retire(leaking[0], Reason.RECYCLE, text, surge))
    if surge:
        draft.actions.append(
            Scale(asked + surge, Reason.RECYCLE, f"{text}; from {asked} to {counted(asked + surge, 'pod')}")
        )


def _carry_on(draft: Draft, pod: Pod, size: Size, asked: int) -> None:
    mark, surge = _mark(pod), _surge(draft, pod, asked)
    if mark.to_pods is not None and asked <= mark.to_pods:
        _await_deletion(draft, pod, asked)
    elif mark.reason is not Reason.RECYCLE and (size.pods > asked or (size.pods == asked and size.sure)):
        reason = Reason.FIXED_BY_USER if size.reason is Reason.FIXED_BY_USER else Reason.DEMAND
        draft.actions.append(Keep(pod.name, reason, f"{size.why}; {pod.name} stays"))
        _scale(draft, size, size.pods, asked)
    elif mark.told_seconds is not None:
        _let_go(draft, pod, asked)
    elif mark.reason is Reason.RECYCLE and _has_healed(draft, pod) and _serving(draft) < size.pods:
        draft.actions.append(Keep(pod.name, Reason.RECYCLE, f"{pod.name} gave its memory back and stays"))
        _scale(draft, size, size.pods, asked)
    elif mark.reason is Reason.RECYCLE and size.pods + surge > asked:
        _scale(draft, Size(size.pods, Reason.RECYCLE, f"{pod.name} is replaced"), size.pods + surge, asked)
    else:
        _move_out(draft, pod, size, asked)


def _has_healed(draft: Draft, pod: Pod) -> bool:
    return not pod.leaking and not draft.books.pods[pod.name].leaving_bytes


def _await_deletion(draft: Draft, pod: Pod, asked: int) -> None:
    """The number is set. When there are no more pods than that and this one is still there, another one went."""
    if len(_alive(draft)) <= asked:
        text = f"the cluster took another pod than {pod.name}, which stays"
        draft.actions.append(Keep(pod.name, _mark(pod).reason, text))


def _let_go(draft: Draft, pod: Pod, asked: int) -> None:
    mark, seen = _mark(pod), draft.books.snapshot.ready_pods
    assert mark.told_seconds is not None and mark.to_pods is not None
    known = not pod.ready and seen is not None and seen <= sum(p.ready for p in _alive(draft))
    if known or draft.now_seconds - mark.told_seconds > SEEN_SECONDS:
        text = f"{pod.name} goes; from {asked} to {counted(mark.to_pods, 'pod')}"
        draft.actions.append(Scale(mark.to_pods, mark.reason, text, pod.name))


def _move_out(draft: Draft, pod: Pod, size: Size, asked: int) -> None:
    mark, others = _mark(pod), [p for p in _alive(draft) if p.name != pod.name]
    waited = draft.now_seconds - mark.since_seconds
    ready = sum(p.ready for p in others)
    if mark.reason is not Reason.RECYCLE and ready < asked - 1:
        _wait_for_others(draft, pod, others, waited)
    elif _surge(draft, pod, asked) and _serving(draft) < size.pods and waited < RECYCLE_GRACE_SECONDS:
        return
    elif not _holds_back(draft, pod) or waited >= MOVE_SECONDS:
        back = size.pods if mark.reason is Reason.RECYCLE and ready < size.pods else None
        to = ready if mark.reason is Reason.RECYCLE else asked - 1
        draft.actions.append(Dismiss(pod.name, mark.reason, _farewell(draft, pod), to, back))


def _wait_for_others(draft: Draft, pod: Pod, others: list[Pod], waited: float) -> None:
    """The cluster takes pods that are not ready before any other: this one is not needed for that, or not yet."""
    if waited >= MOVE_SECONDS or any(p.state is PodState.STARTING for p in others):
        draft.actions.append(Keep(pod.name, _mark(pod).reason, f"other pods are not ready; {pod.name} stays"))


def _serving(draft: Draft) -> int:
    return sum(p.pod.state is PodState.SERVING and p.pod.ready for p in draft.books.pods.values())


def _holds_back(draft: Draft, pod: Pod) -> bool:
    """Whether models still move away from the pod, or load there."""
    there = draft.books.pods[pod.name]
    return bool(draft.moving.get(pod.name)) or there.loading > 0


def _farewell(draft: Draft, pod: Pod) -> str:
    """What becomes of the models of a pod that goes."""
    held = sorted(draft.books.pods[pod.name].ready)
    cold = [name for name in held if not _is_elsewhere(draft, name)]
    text = f"{pod.name} goes: {len(held) - len(cold)} of its {len(held)} models are ready elsewhere"
    return f"{text}; cold will be {', '.join(cold[:10])}" if cold else text


def _is_elsewhere(draft: Draft, name: str) -> bool:
    copies = draft.books.all_copies(name)
    return any(c.state is PlacementState.READY and draft.books.pods[c.pod].pod.state not in GOING for c in copies)
