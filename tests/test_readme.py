"""What the README shows is what happens."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from msifr_integrations.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"

if not README.exists() or not (ROOT / "benchmarks").exists():
    pytest.skip("not in a checkout", allow_module_level=True)

TEXT = README.read_text(encoding="utf-8")
FENCED = r"^```(\w*)\n(.*?)^```$"
FENCES = re.findall(FENCED, TEXT, re.MULTILINE | re.DOTALL)
SHELL = [line for language, code in FENCES if language == "sh" for line in code.splitlines()] + re.findall(
    r"^    (.+)$", re.sub(FENCED, "", TEXT, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
)
COMMANDS = [line.split("#")[0].split()[1:] for line in SHELL if line.startswith("msifr ")]
PROGRAM = {name: main.get_command(click.Context(main), name) for name in main.list_commands(click.Context(main))}


OWN = re.compile(r"traces|more-traces|model-|prompts|samples_|batch|requests|gold|unjudged")


def files_of(words):
    """Return the files a command reads and the one it writes, as they stand on its line."""
    written = {value for option, value in pairwise(words) if option in ("-o", "--out", "--accepted-out")}
    return {word for word in words if re.search(r"\.(json|jsonl|gz|parquet)$", word)} - written, written


@pytest.mark.parametrize("code", [code for language, code in FENCES if language == "python"])
def test_every_example_runs_as_pasted(code):
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text


def test_all_python_is_fenced_as_such():
    assert {language for language, _ in FENCES} <= {"python", "sh", "json"}
    not_shell = [line for line in SHELL if line.split()[0] not in ("make", "msifr", "pip", "python", "vllm")]
    assert not not_shell


def test_the_numbers_are_those_of_the_committed_results():
    done = subprocess.run([sys.executable, "-m", "benchmarks.readme", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shown_is_one_its_program_takes(words, tmp_path, monkeypatch):
    """Options and the values they take; files that are read are there, though empty."""
    name, *arguments = words
    monkeypatch.chdir(tmp_path)
    for file in files_of(arguments)[0]:
        Path(file).touch()
    PROGRAM[name].make_context(name, list(arguments))
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_policies_and_outputs_are_written_before_they_are_read():
    """Only traces, prompts, and what other tools wrote are the reader's own."""
    assert len(COMMANDS) >= 5
    written = set()
    for words in COMMANDS:
        read, new = files_of(words)
        later = {file for file in read if not OWN.match(file)} - written
        assert not later, f"{' '.join(words)}: nothing has written {', '.join(sorted(later))}"
        assert not new & read
        written |= new


def test_every_make_target_and_command_named_exists():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = [line.split()[1] for line in SHELL if line.startswith("make ")] + re.findall(r"`make (\w+)", TEXT)
    assert named
    assert set(named) <= set(targets)
    assert set(re.findall(r"`msifr (\w+)", TEXT)) <= set(PROGRAM)


def test_every_option_named_exists():
    parameters = [each for command in PROGRAM.values() for each in command.params]
    known = {name for each in parameters for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    assert set(re.findall(r"`(--[\w-]+)", TEXT)) <= known
