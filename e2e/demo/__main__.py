"""`python -m e2e.demo up|down`."""

import sys

import click
from rich.console import Console

from e2e.demo import setting, telling
from e2e.demo.timeline import Timeline
from larder.errors import LarderError


@click.group()
def main() -> None:
    """Three models served from a pod with memory for two."""


@main.command()
def up() -> None:
    """Bring the cluster up, install Larder, tell the story. Exit status 0 only if all went as it says."""
    sys.exit(0 if telling.tell(_timeline()) else 1)


@main.command()
@click.option("--crds", is_flag=True, help="Remove the custom resource definitions as well, with every pool there is.")
@click.option("--keep-cluster", is_flag=True, help="Leave the cluster up even if the demo brought it up.")
def down(crds: bool, keep_cluster: bool) -> None:
    """Remove the demo's namespace, Larder's release, and the cluster if the demo brought it up."""
    timeline = _timeline()
    try:
        setting.remove(timeline, crds=crds, keep_cluster=keep_cluster)
    except LarderError as error:
        timeline.say("failed", str(error), "bold red")
        sys.exit(1)


def _timeline() -> Timeline:
    return Timeline(Console(highlight=False, soft_wrap=True))


if __name__ == "__main__":
    main()
