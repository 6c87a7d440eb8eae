"""Validators of one's own that are in no package: named MODULE:CLASS, recorded in policies, found again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import UNSET

from makers import make_traces
from msifr_integrations.cli.words import parse_validators
from msifr_policy import build_evidence, write_traces
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.validators import Length, ValidatorSpec, default_validators, describe, make_validator

MINE = """
from pathlib import Path
import msgspec
from msifr_policy import NO_TOKENS, Evidence, Verdict

Path("imported").touch()

class Andso(msgspec.Struct, frozen=True):
    name, version, columns = "andso", "{version}", ("times",)
    most: int = 2
    def start(self, prompt): return State(self.most)

class State:
    def __init__(self, most): self.most, self.text, self.times = most, "", 0
    def feed(self, text, tokens=NO_TOKENS):
        self.text = (self.text + text)
        self.times += self.text.count("and so on")
        self.text = "" if "and so on" in self.text[-9:] else self.text[-8:]
        self.times += {extra}
        return Evidence(Verdict(self.times > self.most), (float(self.times),))

class Lengthy(Andso, frozen=True):
    name = "length"

class Needy(Andso, frozen=True, kw_only=True):
    name = "needy"
    least: int

nothing = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that holds a module of the user's and some traces."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rules", raising=False)
    write(tmp_path)
    return tmp_path


def write(folder: Path, *, version: str = "1", extra: str = "0") -> None:
    sys.modules.pop("my_rules", None)
    (folder / "my_rules.py").write_text(MINE.replace("{version}", version).replace("{extra}", extra))
    for cached in (folder / "__pycache__").glob("*"):
        cached.unlink()


def msifr(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user does."""
    code = "from msifr_integrations.cli.entry import run; run()"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def test_a_policy_fitted_with_it_finds_it_again_in_another_process(folder: Path) -> None:
    write_traces("traces.jsonl", make_traces(150, attempts=2))
    done = msifr(
        "fit", "traces.jsonl", "--validators", "length,my_rules:Andso", "--posterior", "linear", "-o", "policy.json",
        folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stored = json.loads(Path("policy.json").read_text())["validators"]
    assert {"name": "andso", "version": "1", "parameters": {"most": 2}, "defined_in": "my_rules:Andso"} in stored
    assert [rule for rule in stored if "defined_in" in rule and rule["name"] != "andso"] == []

    found = msifr("evaluate", "policy.json", "traces.jsonl", folder=folder)
    assert found.returncode == 0
    assert f"reads texts by my_rules:Andso, {folder / 'my_rules.py'}" in found.stderr

    (folder / "elsewhere").mkdir()
    lost = msifr("evaluate", "../policy.json", "../traces.jsonl", folder=folder / "elsewhere")
    assert lost.returncode == 2
    assert lost.stderr.startswith("error: ../policy.json, validator 'andso' of my_rules:Andso: cannot be read")
    assert "put that folder into PYTHONPATH" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_words_stand_beside_it(folder: Path) -> None:
    del folder
    rules = parse_validators("my_rules:Andso,question,default")
    assert [rule.name for rule in rules] == [*(rule.name for rule in default_validators()), "question", "andso"]
    Path("rules.json").write_text('[{"name": "my_rules:Andso", "parameters": {"most": 5}}, {"name": "length"}]')
    assert [describe(rule).parameters for rule in parse_validators("rules.json")] == [{"most": 5}, {"cap": None}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("my_rules:Nothing", "no attribute 'Nothing'"),
        ("no_such_module:Rule", "No module named 'no_such_module'"),
        ("my_rules:nothing", "no class of msgspec.Struct"),
        ("my_rules:State", "no class of msgspec.Struct"),
        ("my_rules:Lengthy", "a built-in validator is named 'length'"),
        ("my_rules:Needy", "has no default for least"),
        ("my_rules:Andso,my_rules:Andso", "two validators are named andso"),
        ("my_rules:", "is no MODULE:NAME"),
        ("my_rules.py:Andso", "name the module without .py"),
        ("./my_rules.py:Andso", "such as my_rules:Repeats for the class Repeats in my_rules.py"),
        ("broken:Rule", "SyntaxError"),
        ("leaves:Rule", "SystemExit"),
    ],
)
def test_what_is_wrong_with_it_is_said(folder: Path, words: str, message: str) -> None:
    (folder / "broken.py").write_text("class Rule(:")
    (folder / "leaves.py").write_text("raise SystemExit(3)")
    with pytest.raises(InputError, match=message):
        parse_validators(words)


def test_one_that_breaks_the_contract_is_refused_before_any_work(folder: Path) -> None:
    """It counts the pieces that a text comes in, which differ offline and in flight."""
    write(folder, extra="1")
    with pytest.raises(InputError, match="chunking: pieces"):
        parse_validators("my_rules:Andso")


def test_another_version_or_name_is_not_what_was_certified(folder: Path) -> None:
    spec = describe(parse_validators("my_rules:Andso")[0])
    assert make_validator(spec).columns == ("times",)
    with pytest.raises(InputError, match="is named 'andso' now"):
        make_validator(ValidatorSpec("other", "1", {}, "my_rules:Andso"))
    write(folder, version="2")
    with pytest.raises(InputError, match="is version 2 here but 1 in the policy"):
        make_validator(spec)


@pytest.mark.parametrize(
    "named", ["my_rules:Missing", "my_rules:nothing", "my_rules:Path", "antigravity:x", "my_rules"]
)
def test_a_policy_file_imports_nothing_that_does_not_define_the_class_it_names(folder: Path, named: str) -> None:
    """A policy file may come from anyone, and modules do things when they are imported."""
    before = set(sys.modules)
    with pytest.raises(InputError):
        make_validator(ValidatorSpec("andso", "1", {}, named))
    assert not (folder / "imported").exists()
    assert not {"my_rules", "antigravity"} & (set(sys.modules) - before)
    make_validator(ValidatorSpec("andso", "1", {}, "my_rules:Andso"))
    assert (folder / "imported").exists()


def test_a_class_within_a_function_can_be_used_and_says_why_it_cannot_be_found_again() -> None:
    class Local(Length, frozen=True):
        name = "local"

    spec = describe(Local())
    with pytest.raises(InputError, match="define it at the top of a module"):
        make_validator(spec)
    table = build_evidence(make_traces(3), EveryUnits(50, "characters"), [Local()])
    assert table.validators == (spec,)


def test_policies_without_one_are_written_as_before() -> None:
    assert all(describe(rule).defined_in is UNSET for rule in default_validators())
