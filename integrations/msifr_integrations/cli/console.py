"""How the command line speaks: progress on stderr, prose for people, JSON last on stdout, errors in one line.

Under `--json` an error is a document, too, the last on stdout; the line on stderr stays.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from msifr_policy.errors import InputError, MsifrError

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended, as shells have it."""

stderr = Console(stderr=True, highlight=False, soft_wrap=True)
_stdout = Console(highlight=False, soft_wrap=True)

_FIRST_LINE = 5.0  # seconds of work before progress is told in lines,
_BETWEEN_LINES = 10.0  # and at least between two of them


class WhatIsWrong(msgspec.Struct, frozen=True):
    """What is wrong, where it was found (a file, a line, an option; "" if nowhere), and what to do about it."""

    what: str
    where: str = ""
    remedy: str = ""


class ErrorDocument(msgspec.Struct, frozen=True):
    """What a command prints under `--json` if it could not do its work; its exit status is then 2."""

    error: WhatIsWrong


class Group(click.Group):
    """Turns the project's errors into one readable line and exit status 2, an interrupt into exit status 130."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they were added."""
        del ctx
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take note of whether errors are wanted as JSON: also those of usage, which come before options are read."""
        ctx.meta[_AS_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        as_json = ctx.meta[_AS_JSON]
        try:
            return super().invoke(ctx)
        except MsifrError as error:
            if as_json:
                emit(ErrorDocument(_problem(error)))
            raise _Failure(str(error)) from error
        except click.UsageError as error:
            if as_json:
                where = "msifr" if error.ctx is None else error.ctx.command_path
                emit(ErrorDocument(WhatIsWrong(error.format_message(), where, f"{where} --help shows what it takes")))
            raise
        except KeyboardInterrupt:
            stderr.print("interrupted; no file is left half-written")
            ctx.exit(INTERRUPTED)


_AS_JSON = "msifr.json"


def _problem(error: MsifrError) -> WhatIsWrong:
    return (
        WhatIsWrong(error.what, error.where, error.remedy) if isinstance(error, InputError) else WhatIsWrong(str(error))
    )


class _Failure(click.ClickException):
    exit_code = 2

    def show(self, file: Any = None) -> None:
        del file
        stderr.print(Text.assemble(("error:", "bold red"), " ", self.message))


def prose(*lines: str, json: bool = False) -> None:
    """Print lines for people: to stdout, or to stderr when stdout is for JSON."""
    for line in lines:
        (stderr if json else _stdout).print(Text(line))


def explained(*words: str) -> str:
    """Return the line that ends an output: which words of it `msifr help` explains."""
    return f"(msifr help {' '.join(words)} explains these numbers)"


def examples(*lines: str, before: str = "") -> str:
    """Return the end of a command's help: what else there is to know, then lines that can be typed as they stand."""
    shown = "\n".join(f"  {line}" for line in lines)
    return (f"\b\n{before}\n\n" if before else "") + f"\b\nExamples:\n{shown}"


def emit(record: Any) -> None:
    """Print a record (msgspec struct, dict, list) as one JSON document, last on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(record), indent=2).decode() + "\n")
    sys.stdout.flush()


@contextmanager
def tracking(what: str, total: int | None = None) -> Iterator[Any]:
    """Show progress on stderr; yields a function of the number done, a word, and the total once it is known.

    On a terminal it is a bar that goes away at the end; elsewhere a line now and then, and none of short work.
    """
    if not stderr.is_terminal:
        yield _lines(what, total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(what, total=total)

        def advance(done: int, word: str = "", of: int | None = total) -> None:
            progress.update(task, completed=done, total=of, description=f"{what}: {word}" if word else what)

        yield advance


def _lines(what: str, total: int | None) -> Callable[..., None]:
    """Return what shows progress in lines; they come further apart the longer the work takes."""
    began = time.monotonic()
    due = began + _FIRST_LINE

    def advance(done: int, word: str = "", of: int | None = total) -> None:
        nonlocal due
        if (now := time.monotonic()) < due:
            return
        count = f"{done:,} of {of:,}" if of else f"{done:,}"
        due = now + max(_BETWEEN_LINES, (now - began) / 4)
        prose(f"{what}: {', '.join(filter(None, (count, word)))}, {now - began:.0f} s", json=True)

    return advance
