"""Mounts below a folder of ours: found and undone."""

from pathlib import Path

from e2e.cluster.command import run


def below(folder: Path, table: str | None = None) -> tuple[Path, ...]:
    """What is mounted below the folder, the last mounted first."""
    lines = (Path("/proc/self/mounts").read_text() if table is None else table).splitlines()
    points = (Path(_unescaped(line.split()[1])) for line in lines)
    return tuple(reversed([point for point in points if point.is_relative_to(folder)]))


def undo_below(folder: Path) -> None:
    """Unmount everything below the folder."""
    points = below(folder)
    if points:
        run(["umount", "--lazy", *points], timeout_seconds=60)


def _unescaped(path: str) -> str:
    """The kernel writes space, tab, newline and backslash as octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
