"""`msifr help`: the words that commands print, and what all commands have in common."""

import shutil
from collections.abc import Iterator
from difflib import get_close_matches
from textwrap import wrap
from typing import Any

import click
import msgspec

from msifr_integrations.cli.console import emit, examples, prose
from msifr_integrations.cli.options import json_option
from msifr_integrations.terms import TERMS, Term, find, known_words
from msifr_policy.errors import InputError

TOPICS = {
    "exit": """\
The exit status of every command:
0    It did its work. That nothing could be certified is an answer too: msifr fit then writes a policy that never
     discards.
1    It did its work, and the answer is no: msifr doctor found something that does not work, or msifr audit an alarm.
     Also what Python ends with after an error that is ours: please report it.
2    It could not do its work: what is wrong, where, and what to do stands on standard error, and under --json in a
     document {"error": {"what", "where", "remedy"}} on standard output, too. No file is left half-written.
130  It was interrupted (Ctrl-C). A run goes on from there when the same command is given again.
Attempts that exit with a forced answer: msifr help "early exit".""",
    "json": """\
Under --json a command prints one JSON document, the last on standard output; all that is for people goes to standard
error. Documents are described by JSON Schemas (draft 2020-12) in the package: msifr schema lists them, msifr schema
evaluate prints one. Numbers that are undefined are null; fields may be added, and do not change their meaning.
If the command could not do its work the document is {"error": {"what": …, "where": …, "remedy": …}}.""",
    "settings": """\
Options can stand in a file: msifr.toml in the working folder, or another that --settings FILE or the environment
variable MSIFR_SETTINGS names. It has a table for each command, with the long names of its options:
     [fit]
     max-false-reject = 0.1
     [generate]
     server = "http://localhost:8000"
     stop = ["\\n\\n", "Q:"]
     chat = false
The command line wins over the file. What was taken from it is said in one line; unknown names are errors.
MSIFR_SETTINGS=/dev/null: no settings.""",
    "completion": """\
The tab key completes commands, options and their values, once the shell is told how:
     eval "$(msifr completion bash)"                                  # in ~/.bashrc
     eval "$(msifr completion zsh)"                                   # in ~/.zshrc
     msifr completion fish > ~/.config/fish/completions/msifr.fish    # once""",
}
"""What all commands have in common, by word."""

_ALSO = {"status": "exit", "exit status": "exit", "exit codes": "exit", "toml": "settings"}


class CommandLine(msgspec.Struct, frozen=True):
    """A command, and what it does in a sentence."""

    name: str
    summary: str


class Topic(msgspec.Struct, frozen=True):
    """Something that all commands have in common."""

    name: str
    text: str


class ListedTerm(msgspec.Struct, frozen=True):
    """A word that commands print, see `Term`."""

    name: str
    symbol: str
    meaning: str
    more: str
    where: str


class HelpDocument(msgspec.Struct, frozen=True):
    """What was asked for: terms, commands and topics; all of them if nothing was."""

    terms: list[ListedTerm]
    commands: list[CommandLine]
    topics: list[Topic]


def _complete(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    return [word for word in (*TERMS, *TOPICS) if word.startswith(begun.casefold())]


@click.command(
    "help", epilog=examples("msifr help", "msifr help s f factor", "msifr help accepted cost share", "msifr help exit")
)
@click.argument("words", nargs=-1, shell_complete=_complete)
@json_option
@click.pass_context
def help_on(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """Explain WORDS that commands print (s, f, factor, certificate, …), or show the help of a command.

    Without WORDS: all commands and terms.
    """
    group: Any = ctx.parent.command if ctx.parent is not None else None
    commands: dict[str, click.Command] = dict(group.commands) if group is not None else {}
    found = list(_found([word for each in words for word in each.replace(",", " ").split()], commands))
    terms = [what for what in found if isinstance(what, Term)]
    named = [what for what in found if isinstance(what, click.Command)]
    topics = [what for what in found if isinstance(what, str)]
    if as_json:
        if not words:
            terms, named, topics = list(TERMS.values()), list(commands.values()), list(TOPICS)
        lines = [CommandLine(each.name or "", each.get_short_help_str(200)) for each in named]
        emit(HelpDocument([ListedTerm(*t) for t in terms], lines, [Topic(name, TOPICS[name]) for name in topics]))
    elif not words:
        prose(*_overview(commands))
    else:
        for place, what in enumerate(found):
            prose(*([""] if place else []))
            if isinstance(what, Term):
                prose(*_told(what))
            elif isinstance(what, str):
                prose(*TOPICS[what].splitlines())
            else:
                with click.Context(what, parent=ctx.parent, info_name=what.name) as of_it:
                    prose(*what.get_help(of_it).splitlines())


def _found(words: list[str], commands: dict[str, click.Command]) -> Iterator[Term | click.Command | str]:
    """Yield what the words stand for, several together where they do. Raises `InputError` with what is near."""
    while words:
        for size in range(len(words), 0, -1):
            together = " ".join(words[:size])
            what = _meant(together, commands)
            if what is not None:
                yield what
                words = words[size:]
                break
        else:
            raise _unknown(words[0], commands)


def _meant(word: str, commands: dict[str, click.Command]) -> Term | click.Command | str | None:
    plain = word.casefold().removeprefix("--")
    if plain in commands and plain != "help":
        return commands[plain]
    if (topic := _ALSO.get(plain, plain)) in TOPICS:
        return topic
    try:
        return find(word)
    except KeyError:
        return None


def _unknown(word: str, commands: dict[str, click.Command]) -> InputError:
    near = get_close_matches(word.casefold(), [*known_words(), *commands, *TOPICS], n=3)
    remedy = f"did you mean {', '.join(near)}?" if near else "msifr help lists all words"
    return InputError(f"{word!r} is no term, command or topic", where="msifr help", remedy=remedy)


def _told(term: Term) -> list[str]:
    """Return the lines of a term."""
    more = f"{term.more} (docs/theory.md, {term.where})" if term.where else term.more
    return [
        f"{term.name} ({term.symbol})" if term.symbol else term.name,
        *_wrapped(term.meaning, "  "),
        *_wrapped(more, "  "),
    ]


def _overview(commands: dict[str, click.Command]) -> list[str]:
    widest = max(map(len, commands), default=0)
    named = ", ".join(f"{term.name} ({term.symbol})" if term.symbol else term.name for term in TERMS.values())
    return [
        "Commands (msifr COMMAND --help):",
        *(f"  {name:{widest}}  {each.get_short_help_str(_width() - widest - 4)}" for name, each in commands.items()),
        "",
        "What all have in common (msifr help TOPIC):",
        *_wrapped(", ".join(TOPICS), "  "),
        "",
        "Terms (msifr help TERM, by name or symbol):",
        *_wrapped(named, "  "),
    ]


def _wrapped(text: str, indent: str) -> list[str]:
    return wrap(text, _width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _width() -> int:
    return max(min(shutil.get_terminal_size().columns, 100), 40)
