"""The command line, run in this process."""

import json

from click.testing import CliRunner

from msifr_integrations.cli import main


def run(*arguments, code=0):
    """Return what a command did; it must end with this status, None: with any."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert code in (None, result.exit_code), result.output + str(result.exception)
    return result


def last_json(result):
    """Return the JSON document that a command printed last."""
    return json.loads(result.stdout[result.stdout.index("{") :])
