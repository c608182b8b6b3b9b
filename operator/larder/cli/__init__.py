"""The larder command."""

from importlib import import_module
from typing import Final

import click

from larder import __version__

COMMANDS: Final = ("gateway", "meter", "simulate", "trace")
"""Each is a module of this package with a command of the same name."""


class Commands(click.Group):
    """Imports a command when it is asked for: a gateway starts without what only the simulator needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="larder")
def main() -> None:
    """Larder: model-level caching and autoscaling for Triton on Kubernetes."""
