"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from msifr_integrations.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def readme():
    path = ROOT / "README.md"
    if not path.exists() or not (ROOT / "benchmarks").exists():
        pytest.skip("not in a checkout")
    return path.read_text(encoding="utf-8")


def test_the_example_runs_and_its_last_line_holds(readme):
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own text


def test_the_numbers_are_those_of_the_committed_results():
    if not (ROOT / "benchmarks").exists():
        pytest.skip("not in a checkout")
    done = subprocess.run([sys.executable, "-m", "benchmarks.readme", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_every_command_shown_exists_with_its_options(readme):
    for line in re.findall(r"^    msifr (.+)$", readme, re.MULTILINE):
        words = line.split("#")[0].split()
        command = main.commands[words[0]]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words[1:] if word.startswith("-")} <= known, line
        assert CliRunner().invoke(main, [words[0], "--help"]).exit_code == 0
