"""What long runs print: tables, and lines with the time of day, by which logs can be searched."""

import sys
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.markup import escape

# Tables are read in logs too, which are wider than what is assumed where there is no terminal.
CONSOLE: Final = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 132)


def say(sentence: str) -> None:
    """Print one line."""
    CONSOLE.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/] {escape(sentence)}")
