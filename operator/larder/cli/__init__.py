"""The larder command."""

from importlib import import_module
from typing import IO, Any, Final

import click

from larder import __version__

COMMANDS: Final = ("gateway", "meter", "simulate", "trace")
"""Each is a module of this package with a command of the same name."""


class MisusedError(click.ClickException):
    """A command was called in a way that it does not have."""

    exit_code = 2

    def __init__(self, ctx: click.Context, message: str) -> None:
        super().__init__(message)
        self._command = ctx.command_path

    def show(self, file: IO[Any] | None = None) -> None:
        """Say so in one line."""
        click.echo(f"{self._command}: {' '.join(self.format_message().split())}", file=file, err=file is None)


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

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; wrong usage of it ends in one sentence, as wrong input does."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise MisusedError(error.ctx or ctx, error.format_message()) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="larder")
def main() -> None:
    """Larder: model-level caching and autoscaling for Triton on Kubernetes."""
