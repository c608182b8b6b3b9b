"""A request's share of the bytes that may be held, given back however the request ends."""

from types import TracebackType
from typing import Self

from larder.gateway import refusals
from larder.gateway.holding import Bytes


class Reservation:
    """Grows while a body arrives; leaving it gives all back."""

    def __init__(self, pot: Bytes) -> None:
        self._pot = pot
        self._taken = 0

    def take(self, amount_bytes: int) -> None:
        """Reserve more. Raises RefusalError when it does not fit."""
        if not self._pot.reserve(amount_bytes):
            raise refusals.no_room()
        self._taken += amount_bytes

    def release(self) -> None:
        """Give all back."""
        self._pot.release(self._taken)
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
