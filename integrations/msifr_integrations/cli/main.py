"""The command `msifr`: a file for each of its commands, which read files, call the library, and say what came out."""

import os
from importlib.metadata import version

# Torch's threads spin while they wait; this must be set before torch is imported by any command.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click

from msifr_integrations.cli.audit import audit
from msifr_integrations.cli.completion import completion
from msifr_integrations.cli.console import Group, examples
from msifr_integrations.cli.convert import convert
from msifr_integrations.cli.doctor import doctor
from msifr_integrations.cli.evaluate import evaluate
from msifr_integrations.cli.export import export
from msifr_integrations.cli.fit import fit
from msifr_integrations.cli.generate import generate
from msifr_integrations.cli.help import help_on
from msifr_integrations.cli.judge import judge
from msifr_integrations.cli.merge import merge
from msifr_integrations.cli.plan import plan
from msifr_integrations.cli.report import report
from msifr_integrations.cli.schema import schema
from msifr_integrations.cli.score import score
from msifr_integrations.cli.settings import with_settings
from msifr_integrations.cli.simulate import simulate


@click.group(
    cls=Group,
    epilog=examples(
        "msifr convert samples_gsm8k.jsonl -o traces.jsonl.gz",
        "msifr fit traces.jsonl.gz -o policy.json",
        "msifr help s f factor",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(version("msifr-policy"))
def main() -> None:
    """Stop bad language-model outputs while they are being generated, at a certified risk.

    Outputs you have become traces with `msifr convert`; to make some, use `msifr generate --policy none`. Then
    `msifr fit` makes a policy of traces and certifies it, `msifr evaluate` says what it would have saved, and
    `msifr generate --policy` runs it. `msifr help` explains every word that they print.
    """


# In the order of work, in which they are listed; each in so few words that none is cut off.
for command, what in (
    (plan, "Say how many samples a certificate takes, before any."),
    (convert, "Make traces of the outputs of other tools."),
    (judge, "Give outputs an outcome: accepted or not."),
    (score, "Show what the validators find in traces."),
    (fit, "Fit a policy on traces, and certify it."),
    (evaluate, "Say what a policy would have saved and lost on traces."),
    (simulate, "Say what a policy saves in a model of the attempts."),
    (generate, "Make attempts, and stop those not worth finishing."),
    (audit, "Say whether the certificate of a run still holds."),
    (merge, "Join the shards of a run."),
    (export, "Write accepted samples or preference pairs, for training."),
    (report, "Write a page about a run, a policy or traces."),
):
    command.short_help = what
    for option in command.params:
        if isinstance(option, click.Option) and option.default == "":
            option.show_default = False  # which no reader could use
    main.add_command(with_settings(command))
for command, what in (
    (doctor, "Say what is installed, and whether it works here."),
    (help_on, "Explain the words and numbers that commands print."),
    (schema, "Print the JSON Schema of a file or a --json document."),
    (completion, "Make your shell complete commands and options."),
):
    command.short_help = what
    main.add_command(command)

if __name__ == "__main__":
    main()
