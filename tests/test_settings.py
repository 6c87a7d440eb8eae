"""Options from a file: the command line wins, unknown names are errors, and what was taken is said."""

import json
import os
from pathlib import Path

import pytest

from commands import run
from makers import make_traces
from msifr_integrations.cli import main
from msifr_integrations.cli.settings import FILE, VARIABLE, check_settings
from msifr_policy.errors import InputError
from msifr_policy.records.traces import write_traces


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working folder, and no settings from elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def plan(*arguments):
    result = run("plan", *arguments, "--json")
    return json.loads(result.stdout), result.stderr


def test_the_file_in_the_working_folder_is_read_and_said():
    plain, said = plan()
    assert "settings" not in said
    Path(FILE).write_text("[plan]\nmax-false-reject = 0.1\nattempts-per-prompt = 2\n\n[fit]\nseed = 3\n")
    mine, said = plan()
    assert "settings from msifr.toml: max-false-reject = 0.1, attempts-per-prompt = 2" in said
    assert mine["critical_numbers"][0] == 22 < plain["critical_numbers"][0]
    assert (mine, said) == (plan("--settings", FILE)[0], said)


def test_the_command_line_wins_and_only_what_was_taken_is_said():
    Path(FILE).write_text("[plan]\nmax-false-reject = 0.1\nconfidence = 0.95\n")
    theirs, said = plan("--max-false-reject", "0.2")
    assert theirs == plan("--max-false-reject", 0.2, "--confidence", 0.95, "--settings", os.devnull)[0]
    assert "settings from msifr.toml: confidence = 0.95" in said
    assert "max-false-reject" not in said.partition("settings from")[2].partition("\n")[0]


def test_the_variable_names_a_file_and_the_option_another(folder, monkeypatch):
    (folder / "a.toml").write_text("[plan]\nconfidence = 0.8\n")
    (folder / "b.toml").write_text("[plan]\nconfidence = 0.99\n")
    (folder / FILE).write_text("[plan]\nconfidence = 0.5\n")
    monkeypatch.setenv(VARIABLE, "a.toml")
    assert "settings from a.toml: confidence = 0.8" in plan()[1]
    assert "settings from b.toml: confidence = 0.99" in plan("--settings", "b.toml")[1]
    monkeypatch.setenv(VARIABLE, os.devnull)
    assert "settings" not in plan()[1]
    monkeypatch.setenv(VARIABLE, "missing.toml")
    assert "missing.toml: cannot be read" in run("plan", code=2).stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[plan]\nmax-false-rejct = 0.1\n",
            "[plan] max-false-rejct: msifr plan has no such setting (did you mean max-f",
        ),
        ("[plam]\nconfidence = 0.9\n", "'plam' is no command (did you mean plan"),
        ("confidence = 0.9\n", "'confidence' is an option outside of the table of a command"),
        ("plan = 3\n", "'plan' must be a table, [plan]"),
        ("[plan]\njson = true\n", "[plan] json: msifr plan has no such setting (belongs on the command line)"),
        ("[plan]\nattempts-per-prompt = 'many'\n", "[plan] attempts-per-prompt: 'many' is not a valid int"),
        ("[plan]\nattempts-per-prompt = true\n", "True is not what it takes (integer, as on the command line)"),
        ("[plan]\nconfidence = [0.9]\n", "[plan] confidence: [0.9] is not what it takes"),
        ("[plan\n", "no TOML"),
        (f"[plan]\nconfidence = {'9' * 5000}\n", "no TOML"),
        ("[fit]\nnonsense = 1\n[plan]\nconfidence = 2\n", "confidence = 2 must lie"),
    ],
)
def test_mistakes_are_one_line_that_names_file_table_and_remedy(text, says):
    Path(FILE).write_text(text)
    said = run("plan", code=2).stderr
    assert said.strip().splitlines()[-1].startswith("error: ")
    assert says in " ".join(said.split())


def test_what_other_tables_hold_is_checked_when_they_are_used():
    """A file may be shared by releases that differ in other commands' options; doctor checks all of it."""
    Path(FILE).write_text("[fit]\nnonsense = 1\n")
    plan()
    with pytest.raises(InputError, match="nonsense"):
        check_settings(main, FILE)


def test_flags_lists_and_required_options_come_from_the_file(folder):
    write_traces(folder / "t.jsonl", make_traces(60, seed=5))
    Path(FILE).write_text("[fit]\nout = 'p.json'\nposterior = 'linear'\nhistory = false\nmax-false-reject = 0.3\n")
    said = run("fit", "t.jsonl").stderr
    assert Path("p.json").exists()
    assert "out = 'p.json', max-false-reject = 0.3, posterior = 'linear', history = false" in said
    Path(FILE).write_text("[generate]\nstop = ['Q:', 'A:']\nprompts = 'missing.jsonl'\npolicy = 'none'\n")
    result = run("generate", "--model", "embedded", "-o", "out.jsonl", code=2)
    assert "stop = ['Q:', 'A:']" in result.stderr
    assert "missing.jsonl" in result.stderr


def test_commands_that_only_tell_read_no_settings():
    Path(FILE).write_text("[nonsense]\n")
    assert "saving rate" in run("help", "s").stdout
    run("schema", "plan")
    run("plan", "--help")
