"""How this machine reaches its package registries, handed to image builds for as long as they run."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.command import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.settings import Versions
from e2e.cluster.store import write

SYSTEM_CERTIFICATES = Path("/etc/ssl/certs")
BUNDLE = SYSTEM_CERTIFICATES / "ca-certificates.crt"
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_APT_SETTINGS = ("Acquire::http::", "Acquire::https::", "Acquire::Retries")
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class BuildHost:
    """What a build sees of the machine: {path here: path in the build}, read-only."""

    volumes: Mapping[Path, str]

    def flags(self) -> tuple[str, ...]:
        """The arguments for buildah."""
        return tuple(word for here, there in self.volumes.items() for word in ("--volume", f"{here}:{there}:ro"))


def prepare(folder: Path) -> BuildHost:
    """Write pip's and apt's settings of this machine, its own certificate authorities included, for builds."""
    pip = run([sys.executable, "-m", "pip", "config", "list"], timeout_seconds=_SECONDS)
    settings = pip_settings(pip.splitlines())
    certificates = Path(settings.pop("cert", BUNDLE))
    in_build = BUNDLE if certificates == BUNDLE else Path("/etc/build-certificates.pem")
    write(folder / "pip.conf", pip_configuration(settings, in_build))
    apt = run(["apt-config", "dump"], timeout_seconds=_SECONDS)
    write(folder / "apt.conf", apt_configuration(apt.splitlines()))
    volumes = {folder / "pip.conf": "/etc/pip.conf", folder / "apt.conf": "/etc/apt/apt.conf.d/99build-host"}
    if SYSTEM_CERTIFICATES.is_dir():
        volumes[SYSTEM_CERTIFICATES] = str(SYSTEM_CERTIFICATES)
    if certificates not in (BUNDLE,) and certificates.exists():
        volumes[certificates] = str(in_build)
    return BuildHost(volumes)


def pip_settings(listing: Iterable[str]) -> dict[str, str]:
    """What of `pip config list` a build needs; the environment's settings win, as they do for pip."""
    found: dict[str, str] = {}
    ranked = sorted(listing, key=lambda line: line.startswith(":env:"))
    for line in ranked:
        name, _, value = line.partition("=")
        setting = name.rpartition(".")[2]
        if setting in (*_PIP_SETTINGS, "cert"):
            found[setting] = value.strip("'\"")
    return found


def pip_configuration(settings: Mapping[str, str], certificates: Path) -> str:
    """The text of a pip.conf."""
    lines = [f"{name} = {value}".replace("\\n", "\n    ") for name, value in sorted(settings.items())]
    return "\n".join(["[global]", f"cert = {certificates}", "disable-pip-version-check = true", *lines]) + "\n"


def apt_configuration(dump: Iterable[str]) -> str:
    """The lines of `apt-config dump` that say how registries are reached."""
    return "".join(f"{line}\n" for line in dump if line.startswith(_APT_SETTINGS))


def debian_mirror(versions: Versions) -> str:
    """The address this machine's apt has Debian from. ClusterError if it has none for the suite."""
    listing = run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(SITE)", "Created-By: Packages"],
        timeout_seconds=_SECONDS,
    )
    return mirror_of(listing.splitlines(), versions.debian_suite)


def mirror_of(targets: Iterable[str], suite: str) -> str:
    """The site in the first line `SUITE main SITE`."""
    for target in targets:
        words = target.split()
        if words[:2] == [suite, "main"]:
            return words[2]
    raise ClusterError(f"apt of this machine has no source for Debian's suite {suite!r}, component main")
