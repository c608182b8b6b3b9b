"""The suites and their shares of the time budget, read from the one table in CONTRIBUTING.md."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from larder.errors import InvalidInputError

ROOT: Final = Path(__file__).resolve().parents[2]
CONTRIBUTING: Final = ROOT / "CONTRIBUTING.md"
COLUMNS: Final = ("suite", "what it shows", "command", "warm, min", "from nothing, min")


@dataclass(frozen=True, slots=True)
class Suite:
    """One row: what to run and how long it may take with warm caches and from nothing."""

    name: str
    command: tuple[str, ...]
    warm_seconds: float
    from_nothing_seconds: float


def read(text: str) -> tuple[Suite, ...]:
    """Return the suites in the order of the table. Raises InvalidInputError where it is missing or misshapen."""
    rows = [_cells(line) for line in text.splitlines() if line.startswith("|")]
    if COLUMNS not in rows:
        raise InvalidInputError("CONTRIBUTING.md", "no table of suites", f"its columns are {' | '.join(COLUMNS)}")
    body = rows[rows.index(COLUMNS) + 2 :]
    suites = tuple(_suite(cells) for cells in body)
    names = [suite.name for suite in suites]
    if not names or len(set(names)) != len(names):
        raise InvalidInputError("suites in CONTRIBUTING.md", names, "at least one, each name once")
    return suites


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def _suite(cells: tuple[str, ...]) -> Suite:
    if len(cells) != len(COLUMNS):
        raise InvalidInputError("row of the table of suites", " | ".join(cells), f"{len(COLUMNS)} columns")
    name, _, command, warm, from_nothing = cells
    quoted = re.fullmatch(r"`([^`]+)`", command)
    if quoted is None:
        raise InvalidInputError(f"command of suite {name}", command, "one command in backquotes")
    return Suite(name, tuple(shlex.split(quoted[1])), _minutes(name, warm) * 60, _minutes(name, from_nothing) * 60)


def _minutes(suite: str, text: str) -> float:
    try:
        minutes = float(text)
    except ValueError as error:
        raise InvalidInputError(f"share of suite {suite}", text, "minutes as a number") from error
    if minutes <= 0:
        raise InvalidInputError(f"share of suite {suite}", text, "more than 0 minutes")
    return minutes
