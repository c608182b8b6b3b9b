"""The images of an embedded cluster: what each is made of, built when that changed, pushed to a registry."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import buildhost, mounts, rootfs
from e2e.cluster.command import run
from e2e.cluster.errors import CommandFailedError, SourcesChangedError
from e2e.cluster.progress import Progress
from e2e.cluster.settings import REPOSITORY, Settings
from e2e.cluster.store import digest, file_digest, produced

BASE, PAUSE, COREDNS, TRITON, ENVOY, PROMETHEUS, LARDER = (
    *("base", "pause", "coredns"),
    *("triton", "envoy", "prometheus", "larder"),
)
SYSTEM_ROLES = (PAUSE, COREDNS)
ROLES = (LARDER, TRITON, ENVOY, PROMETHEUS)
BUILD_SECONDS = 1200.0
ARCHIVES_KEPT = 3

_FOLDER = REPOSITORY / "e2e" / "images"
_FORMAT = "1"  # changed when the way of building changes what is built


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is made of: {path in the build: file here}, the Dockerfile among them, and its base."""

    role: str
    context: Mapping[str, Path]
    base: str | None
    key: str

    @property
    def reference(self) -> str:
        """Its name: the tag is the hash of its content, so that a new content is a new image to Kubernetes."""
        return f"localhost/larder/{self.role}:{self.key}"

    def archive(self, settings: Settings) -> Path:
        """Where the built image lies in the cache."""
        return settings.cache / "images" / f"{self.role}-{self.key}.tar"


def describe(settings: Settings, role: str, binary: Path | None = None) -> Image:
    """What the image of a role is made of right now. `binary` is the program that pause and coredns hold."""
    if role == BASE:
        context = {"Dockerfile": _FOLDER / BASE / "Dockerfile", "rootfs.tar": rootfs.archive(settings)}
        return Image(role, context, None, rootfs.content_key(settings))
    base = None if role in SYSTEM_ROLES else describe(settings, BASE).reference
    context = _larder_context() if role == LARDER else _tree(_FOLDER / role, prefix="", skipped=(".go", ".mod", ".sum"))
    if binary is not None:
        context[role] = binary
    return Image(role, context, base, _key(role, context, base))


def _key(role: str, context: Mapping[str, Path], base: str | None) -> str:
    described = [f"{name} {file_digest(path)} {os.access(path, os.X_OK)}" for name, path in sorted(context.items())]
    return digest([_FORMAT, role, base or "", *described])


def build(settings: Settings, image: Image, progress: Progress) -> None:
    """Build an image into the cache, if it is not there. Only under the cache's lock: builds share buildah's store."""
    if image.archive(settings).exists():
        return
    with progress.step(f"Building image {image.role}"), produced(image.archive(settings)) as partial:
        if not _is_stored(settings, image):
            _build(settings, image)
        destination = f"oci-archive:{partial}:{image.reference}"
        _buildah(settings, "push", "--quiet", "--disable-compression", image.reference, destination)
    _drop_old_archives(settings, image.role)


def push(settings: Settings, image: Image, registry: str, *, verify: bool) -> str:
    """Push a built image to a registry and return its name there."""
    name = f"{registry}/larder/{image.role}:{image.key}"
    source = f"oci-archive:{image.archive(settings)}"
    identifier = _buildah(settings, "pull", "--quiet", source).split()[-1]
    _buildah(settings, "push", "--quiet", f"--tls-verify={str(verify).lower()}", identifier, f"docker://{name}")
    return name


def clean_up(settings: Settings) -> None:
    """Undo what builds that were killed left: containers and mounts in buildah's store. Only under the cache's lock."""
    mounts.undo_below(settings.cache / "rootfs")
    if (settings.cache / "buildah").exists():
        mounts.undo_below(settings.cache / "buildah")
        _buildah(settings, "rm", "--all")


def _build(settings: Settings, image: Image) -> None:
    host = buildhost.prepare(settings.cache / "build-host")
    folder = settings.cache / "contexts" / f".partial-{image.role}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        laid_out = _lay_out(folder, image.context)
        if image.role != BASE and _key(image.role, laid_out, image.base) != image.key:
            raise SourcesChangedError(f"The sources of image {image.role} changed just before it was built")
        base = ("--build-arg", f"BASE={image.base}") if image.base else ()
        network = ("--network", "host", "--pull-never", "--layers", "--quiet")
        _buildah(settings, "build", *network, *base, *host.flags(), "--tag", image.reference, str(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _buildah(settings: Settings, *arguments: str) -> str:
    """Our own store, apart from any that the machine's user has."""
    store = settings.cache / "buildah"
    # Inside chroot isolation a build needs no more privileges than we have, and works in a container too.
    env = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
    argv = ["buildah", "--root", str(store / "root"), "--runroot", str(store / "run"), *arguments]
    return run(argv, timeout_seconds=BUILD_SECONDS, env=env, downloads=True)


def _is_stored(settings: Settings, image: Image) -> bool:
    try:
        _buildah(settings, "inspect", "--type", "image", "--format", "{{.FromImageID}}", image.reference)
    except CommandFailedError:
        return False
    return True


def _lay_out(folder: Path, context: Mapping[str, Path]) -> dict[str, Path]:
    for name, source in context.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        # A layer is found again by content and times, and times differ from clone to clone.
        os.utime(target, (0, 0))
    return {name: folder / name for name in context}


def _larder_context() -> dict[str, Path]:
    names = ("Dockerfile", "pyproject.toml", "README.md", "LICENSE")
    context = {name: REPOSITORY / name for name in names}
    return context | _tree(REPOSITORY / "operator", prefix="operator/")


def _tree(folder: Path, *, prefix: str, skipped: tuple[str, ...] = ()) -> dict[str, Path]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".pyc", *skipped))
    return {f"{prefix}{path.relative_to(folder)}": path for path in files if not path.name.startswith(".")}


def _drop_old_archives(settings: Settings, role: str) -> None:
    archives = sorted((settings.cache / "images").glob(f"{role}-*.tar"), key=lambda path: path.stat().st_mtime)
    for archive in archives[:-ARCHIVES_KEPT]:
        reference = f"localhost/larder/{archive.stem.replace('-', ':')}"
        try:
            _buildah(settings, "rmi", reference)
        except CommandFailedError as error:
            if "image not known" not in error.output:
                raise
        archive.unlink()


def values(references: Mapping[str, str]) -> str:
    """A Helm values file that makes the chart use these images."""
    roles = (LARDER, TRITON, ENVOY)
    return json.dumps({"images": {role: split(references[role]) for role in roles}}, indent=2) + "\n"


def split(reference: str) -> dict[str, str]:
    """A reference as the chart's values have it."""
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
