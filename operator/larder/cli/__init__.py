"""The larder command."""

import click

from larder import __version__
from larder.cli.gateway import gateway
from larder.cli.simulate import simulate
from larder.cli.trace import trace


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="larder")
def main() -> None:
    """Larder: model-level caching and autoscaling for Triton on Kubernetes."""


main.add_command(gateway)
main.add_command(simulate)
main.add_command(trace)
