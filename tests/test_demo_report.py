"""The demo at a small size, the pairing of its runs, and the page it writes."""

import json
import re
import shutil

import msgspec
import pytest
from click.testing import CliRunner

from msifr_integrations.demo import Settings, main, run_demo
from msifr_integrations.generation.paired import pair_runs, read_attempts
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.traces import read_traces
from msifr_sim import replay_policy


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    settings = Settings(prompts=160, fresh_prompts=40, attempts=1, slots=16, max_false_reject=0.25)
    return out, run_demo(out, settings)


def test_the_demo_runs_the_whole_job(demo):
    out, summary = demo
    written = json.loads((out / "summary.json").read_text())
    assert written["with_policy"]["attempts"] == written["without_policy"]["attempts"] == 40
    assert written["certificate"]["certified"]
    assert written["with_policy"]["tokens"] < written["without_policy"]["tokens"]
    assert written["with_policy"]["tokens_wasted_after_decision"] == 0
    assert (summary["survivors_changed"], summary["discarded_not_a_prefix"]) == (0, 0)
    assert {p.name for p in out.iterdir()} >= {"summary.json", "report.html", "policy.json", "full.jsonl"}


def test_the_demo_writes_the_page_of_the_report_with_everything(demo):
    html = (demo[0] / "report.html").read_text()
    sections = re.findall(r'<section id="([a-z-]+)"', html)
    assert sections == [
        "frontier", "funnel", "ledger", "reliability", "groups", "simulated", "viewer", "glossary",
    ]  # fmt: skip
    assert html.count("<svg") == 5
    assert "Tokens per accepted sample" in html


def test_pairing_finds_what_differs(demo, tmp_path):
    out, summary = demo
    paired = pair_runs(out / "full.jsonl", out / "with_policy.jsonl")
    assert paired.survivors == summary["survivors"] > 0
    lines = (out / "with_policy.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    survivor = next(i for i, r in enumerate(records) if r["status"] == "finished")
    stopped = next(i for i, r in enumerate(records) if r["status"] == "discarded")
    records[survivor]["text"] = "another text"
    records[survivor]["token_ends"] = [12] * records[survivor]["tokens"]
    records[stopped]["text"] = "x" + records[stopped]["text"][1:]
    shutil.copy(out / "with_policy.ledger.jsonl", tmp_path / "broken.ledger.jsonl")
    (tmp_path / "broken.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    broken = pair_runs(out / "full.jsonl", tmp_path / "broken.jsonl")
    assert (broken.changed, broken.not_prefix) == (1, 1)
    (tmp_path / "short.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match="1 attempts are in one run only"):
        pair_runs(out / "full.jsonl", tmp_path / "short.jsonl")
    with pytest.raises(InputError, match="name the full run first"):
        pair_runs(out / "with_policy.jsonl", out / "full.jsonl")


def test_checkpoints_reached_are_those_of_a_replay(demo):
    """The same attempts under the same policy, live and from their traces: survivors passed checkpoints too."""
    out, summary = demo
    file = PolicyFile.load(out / "policy.json")
    table = build_evidence(read_traces(out / "full.jsonl"), file.schedule, file.policy().validators)
    replayed, live = (
        replay_policy(file.policy(), table),
        pair_runs(out / "full.jsonl", out / "with_policy.jsonl").outcomes,
    )
    assert live.reached.tolist() == replayed.reached.tolist()
    assert live.stop_k.tolist() == replayed.stop_k.tolist()
    assert live.reached[~live.discarded].min() > 0
    assert summary["realised"].by_checkpoint[0].reached == len(live.reached)


def test_files_that_are_no_runs_are_refused(tmp_path):
    (tmp_path / "no.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(InputError, match="line 1"):
        read_attempts(tmp_path / "no.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_attempts(tmp_path / "missing.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "seed = -1 must be at least 0"),
        (["--slots", "0"], "slots = 0"),
        (["--out", "FILE/demo"], "FILE"),
    ],
)
def test_what_the_demo_cannot_do_is_said_in_one_line(tmp_path, arguments, message):
    (tmp_path / "FILE").touch()
    arguments = ["--out", str(tmp_path / "demo"), *(word.replace("FILE", str(tmp_path / "FILE")) for word in arguments)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert message in result.output
    assert result.output.count("\n") == 1


def test_settings_are_one_record():
    assert msgspec.json.decode(msgspec.json.encode(Settings()), type=Settings) == Settings()
