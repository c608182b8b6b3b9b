"""Builds everything a cluster needs into the cache: programs in one lane, images in another."""

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import binaries, images, rootfs
from e2e.cluster.command import interrupt_all
from e2e.cluster.errors import ClusterError, SourcesChangedError
from e2e.cluster.host import FIRST_BUILD_BYTES, require_space
from e2e.cluster.images import Image
from e2e.cluster.progress import Progress
from e2e.cluster.settings import Settings
from e2e.cluster.store import locked, partials, remove

SOURCES_CHANGED_TIMES = 5
_PROGRAMS = (binaries.PAUSE, binaries.CONTROLPLANE, binaries.COREDNS, binaries.HELM)
_IMAGES_FROM_BASE = (images.LARDER, images.TRITON, images.ENVOY, images.PROMETHEUS)


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What was built: {name: program}, {role: image}."""

    programs: Mapping[str, Path]
    images: Mapping[str, Image]

    @property
    def references(self) -> dict[str, str]:
        """The name of each image."""
        return {role: image.reference for role, image in self.images.items()}


def build(settings: Settings, progress: Progress, *, programs: bool = True) -> Artefacts:
    """Build what is missing. `programs` False leaves Kubernetes out, for a cluster that exists already."""
    with locked(settings.cache / "lock", timeout_seconds=binaries.LOCK_SECONDS, waiting=progress.say):
        built = _find(settings, programs)
        if built is not None:
            return built
        require_space(
            settings.cache, FIRST_BUILD_BYTES if not (settings.cache / "bin").exists() else FIRST_BUILD_BYTES // 4
        )
        _discard_interrupted(settings)
        return _build(settings, progress, programs)


def _find(settings: Settings, programs: bool) -> Artefacts | None:
    """Everything from the cache, or None if anything is missing."""
    if not rootfs.is_built(settings):
        return None
    go = binaries.find_go(settings) if programs else None
    found = {name: binaries.path(settings, go, name) for name in _PROGRAMS} if go else {}
    if not all(path.exists() for path in found.values()):
        return None
    described = {role: images.describe(settings, role, found.get(role)) for role in _roles(programs)}
    complete = all(image.archive(settings).exists() for image in described.values())
    return Artefacts(found, described) if complete else None


def _roles(programs: bool) -> tuple[str, ...]:
    return (*_IMAGES_FROM_BASE, *(images.SYSTEM_ROLES if programs else ()))


def _discard_interrupted(settings: Settings) -> None:
    images.clean_up(settings)
    for path in partials(settings.cache):
        remove(path)


def _build(settings: Settings, progress: Progress, programs: bool) -> Artefacts:
    awaited: dict[str, Future[Path]] = {name: Future() for name in _PROGRAMS} if programs else {}
    with ThreadPoolExecutor(max_workers=2) as pool:
        lanes: list[Future[None]] = []
        if programs:
            lanes.append(
                pool.submit(binaries.build_all, settings, progress, lambda name, path: awaited[name].set_result(path))
            )
        image_lane = pool.submit(_build_images, settings, progress, awaited)
        _join([*lanes, image_lane], awaited)
    return Artefacts({name: path.result() for name, path in awaited.items()}, image_lane.result())


def _join(lanes: Sequence[Future[Any]], awaited: Mapping[str, Future[Path]]) -> None:
    """Wait for both lanes; if one fails, or we are interrupted, end the other's program too."""
    try:
        done, _ = wait(lanes, return_when=FIRST_EXCEPTION)
        for lane in done:
            lane.result()
    except BaseException as error:
        interrupt_all()
        for path in awaited.values():
            if not path.done():
                path.set_exception(error)
        raise


def _build_present(settings: Settings, role: str, progress: Progress) -> Image:
    """Build an image of the sources as they are; someone may be writing to them."""
    for _ in range(SOURCES_CHANGED_TIMES):
        image = images.describe(settings, role)
        try:
            images.build(settings, image, progress)
        except SourcesChangedError as error:
            progress.say(str(error))
        else:
            return image
    raise ClusterError(f"The sources of image {role} change too fast to build it; run the command again later")


def _build_images(settings: Settings, progress: Progress, awaited: Mapping[str, Future[Path]]) -> dict[str, Image]:
    if not rootfs.is_built(settings):
        with progress.step(f"Making the base from Debian {settings.versions.debian_suite}"):
            rootfs.build(settings)
    images.build(settings, images.describe(settings, images.BASE), progress)
    built = {}
    for role in _IMAGES_FROM_BASE:
        built[role] = _build_present(settings, role, progress)
    for role in images.SYSTEM_ROLES if awaited else ():
        built[role] = images.describe(settings, role, awaited[role].result())
        images.build(settings, built[role], progress)
    shutil.rmtree(settings.cache / "contexts", ignore_errors=True)
    return built
