"""The mark of a pod that goes: written on the pod, with the cost that makes the cluster delete it before others."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from larder.api import names
from larder.api.retirement import decode, encode
from larder.core.plan import Dismiss, Keep, PodAction, Retire
from larder.core.snapshot import Retirement
from larder.errors import InvalidInputError, KubernetesError, UnavailableError
from larder.runtime.books import PodBook
from larder.runtime.pod_writes import annotate
from larder.runtime.pods import PodView
from larder.runtime.state import PoolState

log = logging.getLogger(__name__)

LOWEST_COST: Final = "-2147483647"
RETRY_SECONDS: Final = (0.1, 0.5, 1.0, 2.0)


def take_mark(book: PodBook) -> None:
    """Take over what the pod says, unless a later word of ours is still on its way there."""
    if book.marking is not None and book.marking != book.view.retiring:
        return
    book.marking = None
    book.retirement = _read(book.view)


def begin_mark(state: PoolState, book: PodBook, action: PodAction) -> None:
    """Note the next step of a retirement, and write it on the pod."""
    book.retirement = _next(book.retirement, action, state.clock.unix())
    book.marking = "" if book.retirement is None else encode(book.retirement, state.fence.term)
    state.tasks.spawn(_write(state, book, book.marking), f"publish retirement of {book.view.name}")


def call_off(state: PoolState) -> None:
    """In mode Advise no pod goes: one that was chosen before stays."""
    for name, book in state.books.pods.items():
        if book.retirement is not None and not book.view.deleting:
            action = Keep(name, book.retirement.reason, f"spec.mode is Advise; {name} stays")
            state.report.decided(action, None)
            begin_mark(state, book, action)


def _next(present: Retirement | None, action: PodAction, now_seconds: float) -> Retirement | None:
    match action:
        case Retire(surge=surge):
            return Retirement(action.reason, now_seconds, surge)
        case Dismiss(to_pods=to_pods, back_to_pods=back_to_pods):
            assert present is not None, "a plan dismisses only what it retired"
            return replace(present, told_seconds=now_seconds, to_pods=to_pods, back_to_pods=back_to_pods)
        case Keep():
            return None


def _read(view: PodView) -> Retirement | None:
    if not view.retiring:
        return None
    try:
        return decode(view.retiring)
    except InvalidInputError as error:
        log.warning("%s: %s", view.name, error)
        return None


async def _write(state: PoolState, book: PodBook, text: str) -> None:
    """Write until it is written, overtaken or not ours to write."""
    view, turn = book.view, 0
    while book.marking == text:
        try:
            await annotate(state.publisher.pods, state.fence, view, _annotations(text))
            return
        except KubernetesError as error:
            if error.status == 404:
                return
            log.info("%s: %s", view.name, error)
        except UnavailableError as error:
            log.info("%s: %s", view.name, error)
        await asyncio.sleep(RETRY_SECONDS[min(turn, len(RETRY_SECONDS) - 1)])
        turn += 1
        view = book.view


def _annotations(text: str) -> dict[str, str | None]:
    told = bool(text) and decode(text).told_seconds is not None
    return {
        names.RETIREMENT_ANNOTATION: text or None,
        names.DELETION_COST_ANNOTATION: LOWEST_COST if told else None,
    }
