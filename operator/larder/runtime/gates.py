"""The readiness gate of Triton pods: true once Larder knows what a pod has loaded and it is warm."""

import logging
from datetime import UTC, datetime
from typing import Any, Final

from larder.adapters.kube.client import STRATEGIC_MERGE_PATCH
from larder.adapters.kube.resources import PODS
from larder.api import names
from larder.errors import KubernetesError
from larder.runtime.books import PodBook
from larder.runtime.state import PoolState

log = logging.getLogger(__name__)

WARM: Final = ("Adopted", "what is loaded is known")
NEW: Final = ("NotAdopted", "the container is new")
GOES: Final = ("Retiring", "the pool needs it no more, and its models are elsewhere")


def set_gate(state: PoolState, book: PodBook, warm: bool) -> None:
    """Write the gate in the background where it differs from what the pod has."""
    if book.gate is None:
        book.gate = book.view.gate
    if bool(book.gate) == warm or book.view.deleting:
        return
    book.gate = warm
    state.tasks.spawn(_write(state, book, warm), f"publish gate of {book.view.name}")


async def _write(state: PoolState, book: PodBook, warm: bool) -> None:
    target, written = (book.view.namespace, book.view.name), False
    goes = book.retirement is not None and book.retirement.told_seconds is not None
    why = WARM if warm else GOES if goes else NEW
    try:
        state.fence.check()
        await state.publisher.pods.patch(PODS, target, _body(state, warm, why), STRATEGIC_MERGE_PATCH, "status")
        written = True
    except KubernetesError as error:
        if error.status != 404:
            raise
    finally:
        if not written:
            # The next round sees the difference again.
            book.gate = None


def _body(state: PoolState, warm: bool, why: tuple[str, str]) -> dict[str, Any]:
    changed = datetime.fromtimestamp(state.clock.unix(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": names.SERVING_GATE,
        "status": str(warm),
        "lastTransitionTime": changed,
        "reason": why[0],
        "message": why[1],
    }
    return {"status": {"conditions": [condition]}}
