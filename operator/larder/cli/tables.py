"""Traces, profiles and assignments: CSV files parsed once, at the edge. Every error names file, line and column."""

import csv
import math
import re
from collections.abc import Iterator
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
MINUTE = re.compile(r"\d+(_minute)?")


@dataclass(frozen=True, slots=True)
class Profile:
    """What one model costs: bytes, seconds of one load, seconds of one execution."""

    size_bytes: int
    load_seconds: float
    execution_seconds: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests by function: counts per minute (functions x minutes), or the sorted times of single events."""

    names: tuple[str, ...]
    counts: NDArray[np.int64] | None
    times: tuple[NDArray[np.float64], ...] | None


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if row:
                    yield number, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"file {path}", str(error), "it must be a readable CSV file in UTF-8") from error


def _column(path: Path, header: list[str], accepted: tuple[str, ...]) -> int:
    for name in accepted:
        if name in header:
            return header.index(name)
    raise InvalidInputError(f"{path}, line 1", ",".join(header)[:80], f"the header needs a column {accepted[0]}")


def _cell(path: Path, line: int, header: list[str], row: list[str], at: int) -> str:
    if at >= len(row):
        raise InvalidInputError(f"{path}, line {line}", f"{len(row)} columns", f"column {header[at]} is missing")
    return row[at].strip()


def _number(where: str, text: str, least: float, allowed: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < least:
        raise InvalidInputError(where, text, allowed)
    return value


def read_profiles(path: Path) -> dict[str, Profile]:
    """Read `model,size_mb_keras,load_s_m5,exec_s_m5` (or plainer names); other columns are ignored."""
    rows = _rows(path)
    header = next(rows, (1, []))[1]
    name_at = _column(path, header, ("model", "name"))
    columns = [_column(path, header, names) for names in (SIZES, LOADS, EXECUTIONS)]
    profiles: dict[str, Profile] = {}
    for line, row in rows:
        values = []
        for at in columns:
            where = f"{path}, line {line}, column {header[at]}"
            text = _cell(path, line, header, row, at)
            values.append(_number(where, text, 1e-9, "it must be a finite number above 0"))
        profiles[row[name_at].strip()] = Profile(round(values[0] * MEGABYTE), values[1], values[2])
    if not profiles:
        raise InvalidInputError(f"file {path}", "no models", "at least one line must follow the header")
    return profiles


def read_trace(path: Path) -> Trace:
    """Read functions x minutes (Azure 2019 form: a name column, then columns 1, 2, ... or 1_minute, ...), or one line
    an event with the header `timestamp_seconds,model`.
    """
    rows = _rows(path)
    header = [h.strip() for h in next(rows, (1, []))[1]]
    minutes = [n for n, name in enumerate(header) if MINUTE.fullmatch(name)]
    if minutes:
        return _read_minutes(path, header, minutes, rows)
    if any(name in header for name in TIMES):
        return _read_events(path, header, rows)
    allowed = "a trace has minute columns 1,2,... after a name, or the header timestamp_seconds,model"
    raise InvalidInputError(f"{path}, line 1", ",".join(header)[:80], allowed)


def _read_minutes(path: Path, header: list[str], minutes: list[int], rows: Iterator[tuple[int, list[str]]]) -> Trace:
    name_at, names, counts = _column(path, header, NAMES), [], []
    for line, row in rows:
        name = _cell(path, line, header, row, name_at)
        if name in names:
            raise InvalidInputError(f"{path}, line {line}, column {header[name_at]}", name, "each name comes once")
        names.append(name)
        counts.append([_count(path, line, header[at], _cell(path, line, header, row, at)) for at in minutes])
    return Trace(tuple(names), np.array(counts, dtype=np.int64).reshape(len(names), len(minutes)), None)


def _count(path: Path, line: int, column: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidInputError(
            f"{path}, line {line}, column {column}", text, "a count is a whole number of at least 0"
        )
    return int(text)


def _read_events(path: Path, header: list[str], rows: Iterator[tuple[int, list[str]]]) -> Trace:
    time_at, name_at = _column(path, header, TIMES), _column(path, header, NAMES[1:])
    events: dict[str, list[float]] = {}
    last = 0.0
    for line, row in rows:
        where, text = f"{path}, line {line}, column {header[time_at]}", _cell(path, line, header, row, time_at)
        seconds = _number(where, text, 0.0, "a time is a finite number of seconds of at least 0")
        if seconds < last:
            raise InvalidInputError(where, text, f"times never go backwards; the line before is at {last:g}")
        last = seconds
        events.setdefault(_cell(path, line, header, row, name_at), []).append(seconds)
    return Trace(tuple(events), None, tuple(np.array(times) for times in events.values()))


def read_assignment(path: Path, column: str) -> dict[str, str]:
    """Read which model stands for which function: a name column and the named one."""
    rows = _rows(path)
    header = next(rows, (1, []))[1]
    name_at, model_at = _column(path, header, NAMES), _column(path, header, (column,))
    return {_cell(path, line, header, row, name_at): _cell(path, line, header, row, model_at) for line, row in rows}
