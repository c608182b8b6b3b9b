"""The routing board: a file in which Envoy's workers read, as it is written, which pods serve which model.

The file begins with zero bytes. Lines are only ever added; a reader takes what it can find up to the first zero byte,
so that a change costs its own line, whatever the number of models, and holds for the next request that a worker reads.
A full board is replaced: a new file takes its name, and the last line of the old one says so.

    P <number> <address>                                                a pod
    M <slot> <hot us> <cold us> <ready> <pods> <name>                   a Model; the last line of a name counts
    D <name>                                                            a Model that is gone
    X                                                                   the board is a new file from here on

`hot us` and `cold us` are the objectives of requests that found a copy ready and that did not, 0 for none; `ready` says
whether a copy is ready anywhere, `pods` where Envoy may send requests by itself (`-` for none). `slot` is the Model's
place in the workers' counters (larder.gateway.tallies).
"""

import mmap
import os
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from larder.gateway.routes import Endpoint

SLOTS: Final = 16_384
"""Models of a pool at most; those beyond pass the activator and are not counted."""
PODS: Final = 4_096
REUSE_SECONDS: Final = 600.0
"""A request may still be counted in the slot of a Model that is gone."""
SMALLEST_BYTES: Final = 1024 * 1024
_MOVED: Final = b"X\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the board says of a Model. Objectives in seconds, None for none."""

    hot_seconds: float | None = None
    cold_seconds: float | None = None
    stateful: bool = False
    copies: tuple[Endpoint, ...] = ()


@dataclass(slots=True)
class Places:
    """Small numbers for names. A number is given to another name only some time after its name has gone."""

    limit: int
    numbers: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    _gone: "deque[tuple[float, int]]" = field(default_factory=deque)
    _used: int = 0

    def take(self, name: str, now_seconds: float) -> int | None:
        """Return the name's number; None when all are taken."""
        if name not in self.numbers:
            self.changes += 1
            if self._gone and now_seconds - self._gone[0][0] >= REUSE_SECONDS:
                self.numbers[name] = self._gone.popleft()[1]
            elif self._used < self.limit:
                self.numbers[name], self._used = self._used, self._used + 1
        return self.numbers.get(name)

    def leave(self, name: str, now_seconds: float) -> None:
        """Take the number from a name that is gone."""
        self.changes += 1
        self._gone.append((now_seconds, self.numbers.pop(name)))


class Board:
    """Writes the board of one gateway pod. `slots` has the place of each Model that is on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.slots = Places(SLOTS)
        self._pods = Places(PODS)
        self._lines: dict[str, bytes] = {}
        self._file: mmap.mmap | None = None
        self._end = 0

    def update(self, changes: Mapping[str, Entry | None], now_seconds: float) -> int:
        """Write what changed of these Models, None for one that is gone; return how many lines that took."""
        present = {name: entry for name, entry in changes.items() if entry is not None}
        lines = self._pod_lines({copy.ip for entry in present.values() for copy in entry.copies}, now_seconds)
        lines += self._forget(self._lines.keys() & (changes.keys() - present.keys()), now_seconds)
        lines += self._model_lines(present, now_seconds)
        if lines or self._file is None:
            self._write(b"".join(lines))
        return len(lines)

    def keep(self, ips: Collection[str], now_seconds: float) -> None:
        """Forget all other pods: nothing on the board names them any more."""
        for ip in self._pods.numbers.keys() - ips:
            self._pods.leave(ip, now_seconds)

    def close(self) -> None:
        """Leave the board as it is: Envoy routes by it until another is written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _pod_lines(self, ips: Iterable[str], now_seconds: float) -> list[bytes]:
        lines = []
        for ip in sorted(set(ips) - self._pods.numbers.keys()):
            number = self._pods.take(ip, now_seconds)
            if number is not None:
                lines.append(_pod_line(number, ip))
        return lines

    def _forget(self, gone: Collection[str], now_seconds: float) -> list[bytes]:
        for name in gone:
            del self._lines[name]
            self.slots.leave(name, now_seconds)
        return [f"D {name}\n".encode() for name in gone]

    def _model_lines(self, entries: Mapping[str, Entry], now_seconds: float) -> list[bytes]:
        lines = []
        for name, entry in entries.items():
            slot = None if _breaks_lines(name) else self.slots.take(name, now_seconds)
            if slot is None:
                continue
            line = self._model_line(slot, name, entry)
            if self._lines.get(name) != line:
                self._lines[name] = line
                lines.append(line)
        return lines

    def _model_line(self, slot: int, name: str, entry: Entry) -> bytes:
        numbers = [] if entry.stateful else [self._pods.numbers.get(copy.ip) for copy in entry.copies]
        pods = ",".join(str(number) for number in numbers if number is not None) or "-"
        hot, cold = (_microseconds(seconds) for seconds in (entry.hot_seconds, entry.cold_seconds))
        return f"M {slot} {hot} {cold} {int(bool(entry.copies))} {pods} {name}\n".encode()

    def _write(self, added: bytes) -> None:
        if self._file is None or self._end + len(added) > len(self._file) - len(_MOVED):
            self._replace()
            return
        self._file[self._end : self._end + len(added)] = added
        self._end += len(added)

    def _replace(self) -> None:
        """Put a board with everything on it in the place of the old one, then say so on the old one."""
        pods = [_pod_line(number, ip) for ip, number in self._pods.numbers.items()]
        everything = b"".join([*pods, *self._lines.values()])
        path, fresh = self._folder / "board", self._folder / "board.new"
        old = _last_line(path) if self._file is None else (self._file, self._end)
        self._file, self._end = _create(fresh, max(SMALLEST_BYTES, 4 * len(everything))), len(everything)
        self._file[: self._end] = everything
        fresh.rename(path)
        if old is not None:
            file, end = old
            file[end : end + len(_MOVED)] = _MOVED
            file.close()


def _create(path: Path, size_bytes: int) -> mmap.mmap:
    """Memory is taken now: a page that cannot be had when it is touched would end who touches it, Envoy included."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(handle, 0, size_bytes)
        return mmap.mmap(handle, size_bytes)
    finally:
        os.close(handle)


def _last_line(path: Path) -> tuple[mmap.mmap, int] | None:
    """Return the board that an earlier activator left, and where its last line ends."""
    try:
        with path.open("r+b") as file:
            old = mmap.mmap(file.fileno(), 0)
    except (FileNotFoundError, ValueError):
        return None
    return old, old.find(b"\0")


def _pod_line(number: int, ip: str) -> bytes:
    return f"P {number} {f'[{ip}]' if ':' in ip else ip}\n".encode()


def _breaks_lines(name: str) -> bool:
    return "\n" in name or "\0" in name


def _microseconds(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, round(seconds * 1e6))
