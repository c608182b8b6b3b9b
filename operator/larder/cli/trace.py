"""`larder trace`: make a documented synthetic trace, for those who have none of their own."""

import csv
import io
import sys
from pathlib import Path

import click
import numpy as np

from larder.cli.files import check_writable, write_all
from larder.core.simulation.synthetic import KINDS, Counts
from larder.errors import InvalidInputError


def as_csv(counts: Counts) -> bytes:
    """Counts (functions x minutes) as `larder simulate` reads them: `function,1,2,...`, one line a function."""
    functions, minutes = counts.shape
    digits = len(str(functions))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("function", *range(1, minutes + 1)))
    writer.writerows((f"f{n + 1:0{digits}}", *row) for n, row in enumerate(counts.tolist()))
    return text.getvalue().encode()


def _describe() -> str:
    lines = [f"{name}: {(make.__doc__ or '').strip()}" for name, make in KINDS.items()]
    return "\b\n" + "\n".join(lines)


@click.command(epilog=_describe())
@click.option("--kind", type=click.Choice(list(KINDS)), required=True, help="See below.")
@click.option("--functions", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--minutes", type=click.IntRange(1, 44_640), default=1440, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed, the same trace.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="CSV file: function,1,2,...")
def trace(kind: str, functions: int, minutes: int, seed: int, out: Path) -> None:
    """Make a synthetic trace: how often each function is called in each minute.

    Popularity follows a Zipf law with exponent 1; the mean function is called once a minute, unless its kind says
    otherwise.
    """
    try:
        check_writable("--out", out)
        counts = KINDS[kind](functions, minutes, np.random.default_rng(seed))
        write_all({out: as_csv(counts)})
    except InvalidInputError as error:
        click.echo(f"larder trace: {error}", err=True)
        sys.exit(2)
    click.echo(f"{out}: {int(counts.sum()):,} requests of {functions:,} functions in {minutes:,} minutes")
