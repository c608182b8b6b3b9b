"""Content hashes, files that appear whole or not at all, and locks between runs."""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.errors import ClusterError

DIGEST_CHARACTERS = 16
_PARTIAL = ".partial-"


def digest(parts: Iterable[str | bytes]) -> str:
    """A short hash of the parts, in order; ("ab", "c") and ("a", "bc") differ."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()[:DIGEST_CHARACTERS]


def file_digest(path: Path) -> str:
    """A short hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_CHARACTERS]


@contextmanager
def produced(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write to; it takes the target's name only if the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{_PARTIAL}{os.getpid()}-{target.name}")
    remove(partial)
    try:
        yield partial
        partial.rename(target)
    finally:
        remove(partial)


def write(target: Path, content: str, mode: int = 0o644) -> None:
    """Write a file whole, and only if it differs."""
    if target.exists() and target.read_text() == content:
        return
    with produced(target) as partial:
        partial.touch(mode)
        partial.write_text(content)


def remove(path: Path) -> None:
    """Remove a file or folder that may not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def partials(folder: Path) -> tuple[Path, ...]:
    """What interrupted runs left in a folder (only true under the folder's lock)."""
    return tuple(folder.glob(f"*/{_PARTIAL}*")) + tuple(folder.glob(f"{_PARTIAL}*"))


@contextmanager
def locked(path: Path, *, timeout_seconds: float, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold an exclusive lock that the kernel releases when we end, however we end.

    While another run holds it, `waiting` is called once with a sentence; after `timeout_seconds` ClusterError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _acquire(file.fileno(), path, timeout_seconds, waiting)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _acquire(descriptor: int, path: Path, timeout_seconds: float, waiting: Callable[[str], None]) -> None:
    deadline = time.monotonic() + timeout_seconds
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sentence = f"Another run (process {path.read_text() or 'unknown'}) holds {path}"
            if time.monotonic() > deadline:
                raise ClusterError(f"{sentence} for more than {timeout_seconds:.0f} s") from None
            if not told:
                waiting(f"{sentence}; waiting for it")
                told = True
            time.sleep(0.2)
        else:
            return
