"""A trickle of requests in the background of a test: every one of them must be answered right."""

import threading
from types import TracebackType
from typing import Final

from urllib3.exceptions import HTTPError

from e2e.tests.stage import Pool

PAUSE_SECONDS: Final = 0.02
RIGHT_SECONDS: Final = 30.0


class Trickle:
    """Asks the models in turn from its own thread while the `with` block runs, and counts what came back."""

    def __init__(self, pool: Pool, *model_names: str) -> None:
        self._pool = pool
        self._models = model_names
        self._stop = threading.Event()
        self._answered = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="trickle")
        self.right = 0
        self.wrong: list[str] = []
        self.loads: dict[str, set[str]] = {name: set() for name in model_names}
        """Which loads of each model answered."""

    def __enter__(self) -> "Trickle":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def until_right(self, count: int) -> None:
        """Wait for so many right answers."""
        with self._answered:
            enough = self._answered.wait_for(lambda: self.right >= count, RIGHT_SECONDS)
        assert enough, f"{self.right} right answers, not {count}; wrong: {self.wrong}"

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(PAUSE_SECONDS):
            number += 1
            self._ask(self._models[number % len(self._models)], number)

    def _ask(self, model: str, number: int) -> None:
        try:
            reply = self._pool.ask(model, number)
        except HTTPError as error:
            self.wrong.append(f"{model}: {error}")
            return
        if reply.model == model and reply.number == number + 1 and reply.load:
            self.loads[model].add(reply.load)
            with self._answered:
                self.right += 1
                self._answered.notify_all()
        else:
            self.wrong.append(f"{model}: {reply.status} {reply.text}")
