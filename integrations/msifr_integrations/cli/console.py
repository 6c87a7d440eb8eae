"""How the command line speaks: progress and prose on stderr or a terminal, JSON last on stdout, errors in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from msifr_policy.errors import MsifrError

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended, as shells have it."""

_stderr = Console(stderr=True, highlight=False, soft_wrap=True)
_stdout = Console(highlight=False, soft_wrap=True)


class Group(click.Group):
    """Turns the project's errors into one readable line and exit status 2, an interrupt into exit status 130."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MsifrError as error:
            raise _Failure(str(error)) from error
        except KeyboardInterrupt:
            _stderr.print("interrupted; no file is left half-written")
            ctx.exit(INTERRUPTED)


class _Failure(click.ClickException):
    exit_code = 2

    def show(self, file: Any = None) -> None:
        del file
        _stderr.print(Text.assemble(("error:", "bold red"), " ", self.message))


def prose(*lines: str, json: bool = False) -> None:
    """Print lines for people: to stdout, or to stderr when stdout is for JSON."""
    for line in lines:
        (_stderr if json else _stdout).print(Text(line))


def emit(record: Any) -> None:
    """Print a record (msgspec struct, dict, list) as one JSON document, last on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(record), indent=2).decode() + "\n")
    sys.stdout.flush()


@contextmanager
def tracking(what: str, total: int | None = None) -> Iterator[Any]:
    """Show progress on stderr; yields a function of the number done, a word, and the total once it is known."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_stderr, transient=True) as progress:
        task = progress.add_task(what, total=total)

        def advance(done: int, word: str = "", of: int | None = total) -> None:
            progress.update(task, completed=done, total=of, description=f"{what}: {word}" if word else what)

        yield advance
