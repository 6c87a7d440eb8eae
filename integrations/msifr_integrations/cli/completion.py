"""`msifr completion`: what makes the tab key complete commands, options and values."""

import click
import msgspec
from click.shell_completion import get_completion_class

from msifr_integrations.cli.console import emit, examples
from msifr_integrations.cli.options import json_option
from msifr_policy.errors import InputError

_VARIABLE = "_MSIFR_COMPLETE"
"""The variable by which a shell asks the program for completions."""


class CompletionDocument(msgspec.Struct, frozen=True):
    """What `msifr completion` prints: the script for a shell."""

    shell: str
    script: str


@click.command(
    epilog=examples(
        'eval "$(msifr completion bash)"',
        "msifr completion fish > msifr.fish",
        before="In ~/.bashrc or ~/.zshrc the first line makes it last; fish reads such files\n"
        "in ~/.config/fish/completions.",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print what makes SHELL complete commands, options and their values."""
    kind = get_completion_class(shell)
    if kind is None:
        raise InputError(f"this click completes nothing in {shell}", where="msifr completion")
    script = kind(ctx.find_root().command, {}, "msifr", _VARIABLE).source()
    if as_json:
        emit(CompletionDocument(shell, script))
    else:
        click.echo(script)
