"""A request's share of what may be held, given back however the request ends."""

from types import TracebackType
from typing import Self

from larder.gateway import refusals
from larder.gateway.holding import Held


class Reservation:
    """Grows while a body arrives; leaving it gives all back. `model` is empty for what asks no model."""

    def __init__(self, held: Held, model: str = "") -> None:
        self._held, self._model = held, model
        self._admitted = False
        self._taken = 0

    def take(self, amount_bytes: int) -> None:
        """Reserve more. Raises RefusalError when it does not fit."""
        if not self._admitted:
            if not self._held.admit(self._model):
                raise refusals.no_room("heldRequests")
            self._admitted = True
        if not self._held.reserve(self._model, amount_bytes):
            raise refusals.no_room("heldBytes")
        self._taken += amount_bytes

    def release(self) -> None:
        """Give all back."""
        if self._admitted:
            self._held.release(self._model, self._taken)
        self._admitted, self._taken = False, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
