"""Shows what runs and how long it takes: live lines on a terminal, plain lines elsewhere, both on standard error."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as RichProgress
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn


class Progress:
    """The steps of one command. Steps may run in parallel threads."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._live: RichProgress | None = None
        if sys.stderr.isatty():
            columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn())
            self._live = RichProgress(*columns, console=self._console)

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Print one line, with the time since the command began."""
        with self._lock:
            elapsed_seconds = time.monotonic() - self._began
            self._console.print(f"[dim]{elapsed_seconds:7.1f} s[/dim]  {escape(sentence)}")

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show a step while the block runs, and how long it took."""
        began = time.monotonic()
        task = self._live.add_task(escape(what), total=1) if self._live else None
        if self._live is None:
            self.say(f"{what} ...")
        try:
            yield
        except BaseException:
            self.say(f"{what}: failed after {time.monotonic() - began:.1f} s")
            if self._live and task is not None:
                self._live.remove_task(task)
            raise
        if self._live and task is not None:
            self._live.update(task, completed=1)
        else:
            self.say(f"{what}: {time.monotonic() - began:.1f} s")
