"""The root file system of the base image: Debian's smallest, with its Python, as one tar in the cache."""

from pathlib import Path

from e2e.cluster import mounts
from e2e.cluster.buildhost import debian_mirror
from e2e.cluster.command import run
from e2e.cluster.settings import Settings
from e2e.cluster.store import digest, file_digest, produced, remove, write

INCLUDED = ("python3", "ca-certificates")
BUILD_SECONDS = 900.0
# What apt and debootstrap leave, and what an image never reads.
_DROPPED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
_DROPPED_FILES = (
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "etc/resolv.conf",
    "etc/hostname",
)


def archive(settings: Settings) -> Path:
    """Where the tar lies."""
    recipe = digest([settings.versions.debian_suite, *INCLUDED, *_DROPPED, *_DROPPED_FILES])
    return settings.cache / "rootfs" / f"{settings.versions.debian_suite}-{recipe}.tar"


def content_key(settings: Settings) -> str:
    """The hash of the tar's content, written beside it."""
    return archive(settings).with_suffix(".digest").read_text()


def is_built(settings: Settings) -> bool:
    """Whether tar and digest are there."""
    return archive(settings).exists() and archive(settings).with_suffix(".digest").exists()


def build(settings: Settings) -> None:
    """Make the tar, if it is not there."""
    target = archive(settings)
    if not target.exists():
        tree = target.with_name(".partial-tree")
        discard(tree)
        with produced(target) as partial:
            _bootstrap(settings, tree)
            _strip(tree)
            pack = ["tar", "--create", "--numeric-owner", "--sort=name", "--one-file-system", "--file", str(partial)]
            run([*pack, "--exclude=./dev/*", "--directory", str(tree), "."], timeout_seconds=BUILD_SECONDS)
        discard(tree)
    write(target.with_suffix(".digest"), file_digest(target))


def discard(tree: Path) -> None:
    """Remove what an interrupted run left, its mounts first."""
    mounts.undo_below(tree)
    remove(tree)


def _bootstrap(settings: Settings, tree: Path) -> None:
    tree.parent.mkdir(parents=True, exist_ok=True)
    words = ["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}", settings.versions.debian_suite]
    run([*words, str(tree), debian_mirror(settings.versions)], timeout_seconds=BUILD_SECONDS, downloads=True)


def _strip(tree: Path) -> None:
    for name in _DROPPED:
        folder = tree / name
        for child in folder.iterdir() if folder.is_dir() else ():
            remove(child)
    for name in _DROPPED_FILES:
        remove(tree / name)
