"""Traces, profiles and assignments: CSV files parsed once, at the edge. Every error names file, line and column."""

import csv
import math
import re
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larder.errors import InvalidInputError

MEGABYTE = 1_000_000
NAMES = ("HashFunction", "model", "function", "name")
TIMES = ("timestamp_seconds", "timestamp", "time_seconds", "time")
SIZES = ("size_mb_keras", "size_mb")
LOADS = ("load_s_m5", "load_seconds", "load_s")
EXECUTIONS = ("exec_s_m5", "execution_seconds", "exec_seconds", "exec_s")
MINUTE = re.compile(r"(\d{1,9})(?:_minute)?", re.ASCII)
MOST_REQUESTS = 10_000_000
"""Of one function in one minute: beyond any trace, and it still fits in memory."""
MOST_SECONDS = 366 * 86400
"""The longest trace; a Unix time is further from 0, and would be played from 1970 on."""
MOST_LINE = 2**22
"""Characters of a line; a device or a binary file may have none that ends."""
MOST_SHOWN = 80
"""Characters of a value that an error repeats."""
MOST_COST = 1e9
"""Megabytes or seconds of one model."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What one model costs: bytes, seconds of one load, seconds of one execution; and where its size stands."""

    size_bytes: int
    load_seconds: float
    execution_seconds: float
    where: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a file, and where it stands: file, line and column."""

    name: str
    where: str


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests by function: counts per minute (functions x minutes), or the sorted times of single events."""

    entries: tuple[Entry, ...]
    counts: NDArray[np.int64] | None
    times: tuple[NDArray[np.float64], ...] | None

    @property
    def names(self) -> tuple[str, ...]:
        """The functions, in the order of the counts or times."""
        return tuple(entry.name for entry in self.entries)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a file, with its header, so that every cell knows its place."""

    path: Path
    line: int
    header: list[str]
    cells: list[str]

    def where(self, at: int) -> str:
        return f"{self.path}, line {self.line}, column {self.header[at]}"

    def text(self, at: int) -> str:
        if at >= len(self.cells):
            here = f"{self.path}, line {self.line}"
            raise InvalidInputError(here, f"{len(self.cells)} columns", f"column {self.header[at]} is missing")
        return self.cells[at].strip()

    def entry(self, at: int) -> Entry:
        if not self.text(at):
            raise self.refused(at, "a name is not empty")
        return Entry(self.text(at), self.where(at))

    def number(self, at: int, least: float, most: float, allowed: str) -> float:
        text = self.text(at)
        try:
            value = math.nan if "_" in text else float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise self.refused(at, allowed)
        return value

    def count(self, at: int) -> int:
        text = self.text(at)
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MOST_REQUESTS):
            allowed = f"a count is a whole number of at least 0 and at most {MOST_REQUESTS}"
            raise self.refused(at, allowed)
        return int(text)

    def refused(self, at: int, allowed: str) -> InvalidInputError:
        text = self.text(at)
        shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
        return InvalidInputError(self.where(at), shown, allowed)


def _read(path: Path) -> tuple[list[str], Iterator[_Row]]:
    lines = _lines(path)
    header = [name.strip() for name in next(lines, (1, []))[1]]
    for name, times in Counter(filter(None, header)).items():
        if times > 1:
            raise InvalidInputError(f"{path}, line 1, column {name}", name, "each column comes once")
    return header, (_row(path, line, header, cells) for line, cells in lines)


def _row(path: Path, line: int, header: list[str], cells: list[str]) -> _Row:
    if len(cells) > len(header):
        raise InvalidInputError(f"{path}, line {line}", f"{len(cells)} columns", f"the header has {len(header)}")
    return _Row(path, line, header, cells)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(iter(lambda: file.readline(MOST_LINE), ""))
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"file {path}", str(error), "it must be a readable CSV file in UTF-8") from error


def _column(path: Path, header: list[str], accepted: tuple[str, ...]) -> int:
    for name in accepted:
        if name in header:
            return header.index(name)
    raise InvalidInputError(f"{path}, line 1", ",".join(header)[:80], f"the header needs a column {accepted[0]}")


def _once(entry: Entry, before: Container[str]) -> str:
    if entry.name in before:
        raise InvalidInputError(entry.where, entry.name, "each name comes once")
    return entry.name


def read_profiles(path: Path) -> dict[str, Profile]:
    """Read `model,size_mb_keras,load_s_m5,exec_s_m5` (or plainer names); other columns are ignored."""
    header, rows = _read(path)
    name_at = _column(path, header, ("model", "name"))
    columns = [_column(path, header, names) for names in (SIZES, LOADS, EXECUTIONS)]
    allowed = f"it must be a finite number above 0, at most {MOST_COST:g}"
    profiles: dict[str, Profile] = {}
    for row in rows:
        size, load, execution = (row.number(at, 1e-6, MOST_COST, allowed) for at in columns)
        name = _once(row.entry(name_at), profiles)
        profiles[name] = Profile(round(size * MEGABYTE), load, execution, row.where(columns[0]))
    if not profiles:
        raise InvalidInputError(f"file {path}", "no models", "at least one line must follow the header")
    return profiles


def read_trace(path: Path) -> Trace:
    """Read functions x minutes (Azure 2019 form: a name column, then columns 1, 2, ... or 1_minute, ...), or one line
    an event with the header `timestamp_seconds,model`.
    """
    header, rows = _read(path)
    if any(name in header for name in TIMES):
        return _read_events(path, header, rows)
    minutes = [n for n, name in enumerate(header) if MINUTE.fullmatch(name)]
    if minutes:
        _check_minutes(path, [header[at] for at in minutes])
        return _read_minutes(_column(path, header, NAMES), minutes, rows)
    allowed = "a trace has minute columns 1,2,... after a name, or the header timestamp_seconds,model"
    raise InvalidInputError(f"{path}, line 1", ",".join(header)[:80], allowed)


def _check_minutes(path: Path, names: list[str]) -> None:
    numbers = [int(name.removesuffix("_minute")) for name in names]
    for before, number, name in zip(numbers, numbers[1:], names[1:], strict=False):
        if number != before + 1:
            allowed = f"minutes count up by one; the column before is minute {before}"
            raise InvalidInputError(f"{path}, line 1, column {name}", name, allowed)


def _read_minutes(name_at: int, minutes: list[int], rows: Iterator[_Row]) -> Trace:
    entries: dict[str, Entry] = {}
    counts = []
    for row in rows:
        entry = row.entry(name_at)
        entries[_once(entry, entries)] = entry
        counts.append([row.count(at) for at in minutes])
    shaped = np.array(counts, dtype=np.int64).reshape(len(entries), len(minutes))
    return Trace(tuple(entries.values()), shaped, None)


def _read_events(path: Path, header: list[str], rows: Iterator[_Row]) -> Trace:
    time_at, name_at = _column(path, header, TIMES), _column(path, header, NAMES[1:])
    allowed = f"a time is a finite number of seconds of at least 0 and at most {MOST_SECONDS} from the trace's start"
    entries: dict[str, Entry] = {}
    events: dict[str, list[float]] = {}
    last = 0.0
    for row in rows:
        seconds = row.number(time_at, 0.0, MOST_SECONDS, allowed)
        if seconds < last:
            before = f"times never go backwards; the line before is at {last:g}"
            raise row.refused(time_at, before)
        last, entry = seconds, row.entry(name_at)
        entries.setdefault(entry.name, entry)
        events.setdefault(entry.name, []).append(seconds)
    return Trace(tuple(entries.values()), None, tuple(np.array(times) for times in events.values()))


def read_assignment(path: Path, column: str) -> dict[str, Entry]:
    """Read which model stands for which function: a name column and the named one."""
    header, rows = _read(path)
    name_at, model_at = _column(path, header, NAMES), _column(path, header, (column,))
    models: dict[str, Entry] = {}
    for row in rows:
        models[_once(row.entry(name_at), models)] = row.entry(model_at)
    return models
