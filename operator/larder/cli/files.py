"""Files that a command writes: all of them whole, or none."""

import os
from collections.abc import Mapping
from pathlib import Path

from larder.errors import InvalidInputError


def check_writable(option: str, path: Path) -> None:
    """Refuse early what could not be written later. Raises InvalidInputError naming the option."""
    if path.is_dir():
        raise InvalidInputError(option, str(path), "it is a file, not a folder")
    if not path.parent.is_dir():
        raise InvalidInputError(option, str(path), f"its folder {path.parent} must exist")


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Write every file beside its place, then put all of them there, so that nobody reads half a file.

    Raises InvalidInputError when one cannot be written; then none of them is changed.
    """
    beside: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            # A device or a pipe is written to; replacing it would take it away from others.
            if path.exists() and not path.is_file():
                path.write_bytes(content)
                continue
            target = path.resolve()
            beside[target] = target.with_name(f".{target.name}.{os.getpid()}.partial")
            beside[target].write_bytes(content)
        for target, partial in beside.items():
            partial.replace(target)
    except OSError as error:
        raise InvalidInputError("output file", str(path), f"it must be writable ({error.strerror})") from error
    finally:
        for partial in beside.values():
            partial.unlink(missing_ok=True)
