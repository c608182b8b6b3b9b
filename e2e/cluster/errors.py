"""The embedded cluster's part of the error tree: each message is one sentence for the person who ran the command."""

from larder.errors import LarderError


class ClusterError(LarderError):
    """The embedded cluster could not do what was asked; the message says what is missing and what to do."""


class CommandFailedError(ClusterError):
    """A program that we ran failed. `output` is the end of what it printed."""

    def __init__(self, program: str, status: int, output: str) -> None:
        super().__init__(f"{program} failed with status {status}: {output.strip() or 'it printed nothing'}")
        self.program = program
        self.status = status
        self.output = output


class NoNetworkError(ClusterError):
    """Something must be downloaded and its registry cannot be reached."""


class SourcesChangedError(ClusterError):
    """What an image is made of changed between the look at it and the build."""


class NoSpaceError(ClusterError):
    """The disk is full, or too full to begin."""
