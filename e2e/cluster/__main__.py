"""The command line: `python -m e2e.cluster up|down|lose|status|build|images|exec-env`."""

import shlex
import signal
import sys
from collections.abc import Callable
from types import FrameType

import click

from e2e.cluster import images, lifecycle
from e2e.cluster.builder import build as build_artefacts
from e2e.cluster.command import interrupt_all
from e2e.cluster.host import install_packages, missing_packages, require_supported
from e2e.cluster.progress import Progress
from e2e.cluster.settings import Settings, from_environment
from larder.errors import InvalidInputError, LarderError


@click.group(help=__doc__)
def main() -> None:
    """Entry."""


@main.command()
@click.option("--durable", is_flag=True, help="etcd syncs to disk, as a real one does: use it when something is timed.")
@click.option("--bare", is_flag=True, help="Kubernetes only: load no image of Larder's.")
@click.option("--nodes", type=int, help="How many nodes; by default one, or as many as there are.")
def up(durable: bool, bare: bool, nodes: int | None) -> None:
    """Bring the cluster up; what is there and right is left alone."""
    settings = from_environment(durable=durable, nodes=nodes)
    with Progress() as progress:
        lifecycle.up(settings, progress, bare=bare)
        synced = "syncs to disk" if lifecycle.is_durable(settings) else "does not sync to disk (--durable makes it)"
        progress.say(f"etcd {synced}")
        progress.say(f'The cluster is up. To use it: eval "$({shlex.quote(sys.executable)} -m e2e.cluster exec-env)"')


@main.command()
@click.option("--purge", is_flag=True, help="Also remove certificates and loaded images: all of the state folder.")
def down(purge: bool) -> None:
    """Remove every process, mount, device, route and table of the cluster."""
    with Progress() as progress:
        lifecycle.down(from_environment(), progress, purge=purge)
        progress.say("Nothing of the cluster runs")


@main.command()
@click.argument("name")
def lose(name: str) -> None:
    """Cut a further node off, as when its machine loses its network; its containers run on. `up` heals it."""
    settings = from_environment()
    further = {node.name: node for node in settings.nodes[1:]}
    if name not in further:
        raise InvalidInputError("NAME", name, f"one of {', '.join(further) or 'no node, as there is only the first'}")
    with Progress() as progress:
        lifecycle.lose(settings, further[name], progress)
        progress.say(f"Nothing reaches {name} until `up`")


@main.command()
def status() -> None:
    """Say what runs. Exit status 0 only if the cluster is up."""
    settings = from_environment()
    for name, process_id in lifecycle.program_states(settings).items():
        click.echo(f"{name:26} {f'process {process_id}' if process_id else 'does not run'}")
    ready = lifecycle.is_up(settings)
    click.echo(f"{'cluster':26} {'up' if ready else 'not up'}")
    raise SystemExit(0 if ready else 1)


@main.command()
def build() -> None:
    """Build programs and images into the cache, start nothing."""
    settings = from_environment()
    require_supported(settings.versions)
    with Progress() as progress:
        if missing_packages():
            with progress.step("Installing Debian packages"):
                install_packages()
        build_artefacts(settings, progress)


@main.command("images")
@click.option("--values", is_flag=True, help="Print a values file for the chart.")
def show_images(values: bool) -> None:
    """Build and load what changed, and print each image's name."""
    with Progress() as progress:
        references = lifecycle.reload_images(from_environment(), progress).references
    if values:
        click.echo(images.values(references), nl=False)
        return
    for role in images.ROLES:
        click.echo(f"{role} {references[role]}")


@main.command("exec-env")
def exec_env() -> None:
    """Print what a shell evaluates to use the cluster."""
    click.echo(environment(from_environment()), nl=False)


def environment(settings: Settings) -> str:
    """The lines that `exec-env` prints."""
    kubeconfig, programs = shlex.quote(str(settings.kubeconfig)), shlex.quote(str(settings.bin))
    return f"export KUBECONFIG={kubeconfig}\nexport PATH={programs}:$PATH\n"


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(command: Callable[[], None]) -> int:
    """Run the command and return its exit status; an error becomes one sentence."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        command()
    except LarderError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        interrupt_all()
        click.echo("Interrupted; the same command goes on from here", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda: main(standalone_mode=False)))
