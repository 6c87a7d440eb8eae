"""The command `msifr`: a file for each of its commands, which read files, call the library, and say what came out."""

import os
from importlib.metadata import version

# Torch's threads spin while they wait; this must be set before torch is imported by any command.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click

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
    epilog=examples("msifr doctor", "msifr fit traces.jsonl.gz -o policy.json", "msifr help s f factor"),
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(version("msifr-policy"))
def main() -> None:
    """Stop bad language-model outputs while they are being generated, at a certified risk.

    Start with `msifr fit` on traces of finished outputs, look at what the policy would save with `msifr evaluate`,
    then run it with `msifr generate`. `msifr help` explains every word that they print.
    """


# In the order of work, in which they are listed.
for command in (plan, convert, judge, score, fit, evaluate, simulate, generate, merge, export, report):
    main.add_command(with_settings(command))
for command in (doctor, help_on, schema, completion):
    main.add_command(command)

if __name__ == "__main__":
    main()
