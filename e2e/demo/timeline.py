"""How the demo looks: one line a thing that happens, with the time since the demo began."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from e2e.demo.asking import Answer
from e2e.demo.watching import Happening, Moved, Said


class Timeline:
    """Prints from any thread. A wait shows a spinner on a terminal and a line elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_seconds = time.monotonic()
        self._lock = threading.Lock()

    def chapter(self, title: str, text: str = "") -> None:
        """Begin a part of the story."""
        with self._lock:
            self._console.print()
            self._console.rule(f"[bold]{escape(title)}", align="left")
            if text:
                self._console.print(f"[dim]{escape(text)}")

    def say(self, word: str, text: str, style: str = "") -> None:
        """Print one line: when, a word for what kind of thing it is, and what it was."""
        elapsed_seconds = time.monotonic() - self._began_seconds
        with self._lock:
            moment = f"[dim]{elapsed_seconds:6.1f} s[/]"
            self._console.print(f"{moment}  [{style or 'default'}]{word:<8}[/] {escape(text)}")

    def answered(self, answer: Answer, was_hot: bool) -> None:
        """Print a request with its answer."""
        question = answer.question
        heat = "hot" if was_hot else "cold"
        took = f"{answer.latency_seconds * 1000:,.0f} ms"
        head = f"{question.model:<10}{answer.protocol:<5}{took:>9}  {question.shown}"
        if answer.label is None:
            self.say(heat, f"{head}  FAILED: {answer.complaint}", "bold red")
        elif not answer.is_right:
            self.say(heat, f"{head}  -> {answer.label}, but right is {question.right}", "bold red")
        else:
            self.say(heat, f"{head}  -> {answer.label} ({answer.score:.2f})", "green" if was_hot else "bold blue")

    def happened(self, happening: Happening) -> None:
        """Print what was seen in the cluster."""
        match happening:
            case Moved(model, pod, True):
                self.say("loaded", f"{model:<10}on {pod}", "bold cyan")
            case Moved(model, pod, False):
                self.say("evicted", f"{model:<10}from {pod}", "bold magenta")
            case Said(about, reason, message, is_warning):
                self.say("why", f"{about} {reason}: {message}", "yellow" if is_warning else "dim")

    @contextmanager
    def waiting(self, what: str) -> Iterator["Wait"]:
        """Show that something is waited for, and for how long it was."""
        wait = Wait(self, what)
        if not self._console.is_terminal:
            self.say("wait", what)
            yield wait
        else:
            with self._console.status(escape(what)) as status:
                wait.show = lambda text: status.update(escape(f"{what}: {text}"))
                yield wait
        self.say("done", f"{what}: {wait.elapsed_seconds:.1f} s", "green")

    def print(self, text: str | Table) -> None:
        """Print text or a table as it is."""
        with self._lock:
            self._console.print(escape(text) if isinstance(text, str) else text)


class Wait:
    """Something that is waited for; its progress is shown when it changes."""

    def __init__(self, timeline: Timeline, what: str) -> None:
        self._began_seconds = time.monotonic()
        self._last = ""
        self.show: Callable[[str], None] = lambda text: timeline.say("", f"{what}: {text}", "dim")

    @property
    def elapsed_seconds(self) -> float:
        """How long it has been waited for."""
        return time.monotonic() - self._began_seconds

    def progress(self, text: str) -> None:
        """Show how things stand."""
        if text and text != self._last:
            self._last = text
            self.show(text)
