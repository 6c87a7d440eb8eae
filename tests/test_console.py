"""How the command line speaks where nobody sees a terminal, and how it says what is wrong."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from msifr_integrations.cli import console, main
from msifr_policy.errors import InputError


def test_progress_is_lines_where_there_is_no_terminal_and_nothing_of_short_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("msifr_integrations.cli.console.time.monotonic", lambda: now)
    with console.tracking("counting", 9_000) as advance:
        for done in range(4):
            now += 1
            advance(done)
    assert capsys.readouterr() == ("", "")
    with console.tracking("counting", 9_000) as advance:
        for done in range(1, 9_001):
            now += 0.01
            advance(done, "sheep")
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("counting: 500 of 9,000, sheep, 5 s")
    assert 4 < len(said) < 9_000 * 0.01 / console._BETWEEN_LINES
    with console.tracking("counting") as advance:
        now += 6
        advance(7)
    assert capsys.readouterr().err == "counting: 7, 6 s\n"


def test_brackets_do_not_stand_in_brackets() -> None:
    assert str(InputError("is wrong", where="a", remedy="mend it")) == "a: is wrong (mend it)"
    assert str(InputError("is wrong", remedy="mend it (--mend)")) == "is wrong; mend it (--mend)"
    assert str(InputError("is wrong (so)", remedy="mend it")) == "is wrong (so); mend it"


@pytest.mark.parametrize("command", ["fit", "score"])
def test_files_without_traces_are_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    done = CliRunner().invoke(main, [command, str(tmp_path / "empty.jsonl"), "-o", str(tmp_path / "o.parquet")])
    assert done.exit_code == 2
    assert re.search(r"empty\.jsonl: holds no traces .*msifr convert", done.stderr)


def test_every_command_is_listed_with_all_it_is_said_to_do() -> None:
    """On 80 columns, none cut off; and no option shows an empty text as its default."""
    listed = CliRunner().invoke(main, ["--help"], env={"COLUMNS": "80"}).stdout
    commands = listed[listed.index("Commands:") : listed.index("Examples:")].strip().splitlines()[1:]
    assert len(commands) == len(main.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in commands)
    for name in main.commands:
        assert '[default: ""]' not in " ".join(CliRunner().invoke(main, [name, "--help"]).stdout.split())


def test_what_is_no_output_of_a_run_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "chat.jsonl").write_text('{"messages": [{"role": "user", "content": "q"}]}\n')
    for name, says in (("empty", "holds no attempts"), ("chat", r"this is a chat \(messages\); msifr convert ")):
        done = CliRunner().invoke(main, ["export", str(tmp_path / f"{name}.jsonl"), "-o", str(tmp_path / "sft.jsonl")])
        assert done.exit_code == 2
        assert re.search(rf"{name}\.jsonl.*{says}", done.stderr), done.stderr
        assert not (tmp_path / "sft.jsonl").exists()
