"""Files of a command: all of them whole, or none."""

from pathlib import Path

import pytest

from larder.cli.files import write_all
from larder.errors import InvalidInputError


def test_every_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    write_all({tmp_path / "a": b"after", tmp_path / "b": b"new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "after", "b": "new"}


def test_no_file_is_changed_when_a_later_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(InvalidInputError, match="must be writable"):
        write_all({tmp_path / "a": b"after", tmp_path / "none" / "b": b"new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "before"}


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_all({tmp_path / "link": b"new"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
