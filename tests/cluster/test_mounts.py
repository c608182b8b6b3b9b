"""Mounts are found below our folder only, the innermost first."""

from pathlib import Path

from e2e.cluster import mounts

TABLE = """\
proc /proc proc rw 0 0
overlay /state/a/rootfs overlay rw 0 0
tmpfs /state/a/rootfs/dev/shm tmpfs rw 0 0
tmpfs /statement tmpfs rw 0 0
nsfs /state/with\\040space nsfs rw 0 0
"""


def test_the_last_mounted_comes_first_and_other_folders_are_left_alone() -> None:
    assert mounts.below(Path("/state"), TABLE) == (
        Path("/state/with space"),
        Path("/state/a/rootfs/dev/shm"),
        Path("/state/a/rootfs"),
    )
