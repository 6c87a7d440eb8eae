"""Every example runs as it is shown and says what it promises, against the fake server where it needs one."""

import ast
import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from fake_server import FakeServer
from makers import make_traces
from msifr_integrations.cli import main
from msifr_policy import PolicyFile, read_ledger, write_traces

FOLDER = Path(__file__).resolve().parents[1] / "examples"
EXAMPLES = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}
MOST_LINES = 20
"""Of an example, blank ones aside: where one needs more, the interface is at fault."""

if not EXAMPLES:
    pytest.skip("not in a checkout", allow_module_level=True)


def said_by(name, *arguments):
    """Run an example as a script, here and now, and return what it prints."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(sys, "argv", [EXAMPLES[name].name, *arguments])
        runpy.run_path(str(EXAMPLES[name]), run_name="__main__")
    return out.getvalue()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder where the example that fits a policy has run; what it said is in `said`."""
    folder = tmp_path_factory.mktemp("fitted")
    write_traces(folder / "traces.jsonl", make_traces(240))
    with contextlib.chdir(folder):
        Path("said").write_text(said_by("fit_certify_evaluate", "traces.jsonl"))
    return folder


@pytest.fixture
def policy(fitted, tmp_path, monkeypatch):
    """That policy, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    PolicyFile.load(fitted / "policy.json").save("policy.json")
    return "policy.json"


@pytest.mark.parametrize("path", EXAMPLES.values(), ids=EXAMPLES)
def test_examples_are_short_and_begin_with_what_they_show(path):
    text = path.read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= MOST_LINES
    assert "\n" not in (ast.get_docstring(ast.parse(text)) or "\n")


def test_every_example_has_a_test_of_its_name():
    assert [name for name in EXAMPLES if f"test_{name}" not in globals()] == []


def test_fit_certify_evaluate(fitted):
    message, saved = (fitted / "said").read_text().splitlines()
    assert message.startswith("with confidence 0.9, at most 0.1 of the good samples")
    assert not PolicyFile.load(fitted / "policy.json").never_discards
    rates = [float(part.split()[-1]) for part in saved.split(", ")]
    assert 0 <= rates[1] < 0.15 < rates[0] < 1  # bad attempts loop, and loops are long


def test_simulate_before_any_data():
    exactly, drawn = (float(line.split()[-1]) for line in said_by("simulate_before_any_data").splitlines())
    assert 0.5 < exactly < 1
    assert drawn == pytest.approx(exactly, abs=0.02)


def test_rejection_sampling(policy):
    said = said_by("rejection_sampling", policy).splitlines()
    for step, line in enumerate(said):
        rows = [json.loads(row) for row in Path(f"sft-{step}.jsonl").read_text().splitlines()]
        assert line.startswith(f"round {step}: {len(rows)} rows")
        assert rows
        assert all([message["role"] for message in row["messages"]] == ["user", "assistant"] for row in rows)
        ids = [row["prompt_id"] for row in rows]
        assert max(map(ids.count, ids)) <= 2
    assert len(said) == 2


def test_same_seeds_with_and_without(policy):
    said = said_by("same_seeds_with_and_without", policy)
    entries = read_ledger("out.ledger.jsonl").entries
    survivors = [entry for entry in entries if entry.outcome != "discarded"]
    assert len(entries) == 8
    assert said.startswith(f"{sum(entry.tokens for entry in entries)} tokens")
    assert said.endswith(f"0 of {len(survivors)} survivors changed\n")


def test_transformers_generate(policy):
    spent, *text = said_by("transformers_generate", policy).splitlines()
    assert 0 < int(spent.split()[0]) <= 200
    assert any("=" in line for line in text)
    discard_at_once(policy)
    spent, *text = said_by("transformers_generate", policy).splitlines()
    assert len(text) == 1 + text.count("")  # the first checkpoint is after the first line


def discard_at_once(policy):
    """Have the policy discard at every checkpoint."""
    msgspec.structs.replace(PolicyFile.load(policy), thresholds=[1.0]).save(policy)


def test_openai_server(policy):
    with FakeServer(length=30) as server:
        said = said_by("openai_server", server.url, policy)
    entries = read_ledger("served.ledger.jsonl").entries
    accepted, tokens = sum(entry.outcome == "accepted" for entry in entries), sum(entry.tokens for entry in entries)
    assert said == f"{accepted} of 8 attempts accepted, {tokens} tokens\n"
    assert accepted
    assert len(entries) == 8


def test_async_client(policy):
    with FakeServer(length=200, pause=0.001) as server:
        arguments = ("async_client", f"{server.url}/v1", "fake", policy)
        assert said_by(*arguments).startswith("finished: ")
        discard_at_once(policy)
        assert said_by(*arguments).startswith("discarded for its ")
        whole, cut = (request.sent for request in server.requests)
        assert whole == 200 > cut


@pytest.mark.usefixtures("policy")
def test_property_tests():
    runpy.run_path(str(EXAMPLES["property_tests"]))["test_it_decides_by_what_it_has_seen"]()


@pytest.mark.usefixtures("policy")
def test_custom_validator():
    assert "DEAD" in said_by("custom_validator")
    write_traces("traces.jsonl", make_traces(60))
    Path("custom_validator.py").write_text(EXAMPLES["custom_validator"].read_text())
    rules = "default,custom_validator:Shouting"
    done = CliRunner().invoke(main, ["fit", "traces.jsonl", "-o", "own.json", "--validators", rules])
    assert done.exit_code == 0, done.output
    assert "shouting" in [spec.name for spec in PolicyFile.load("own.json").validators]
