"""Words a stranger understands: terms, help, what commands print, exit statuses, completion, and what doctor finds."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands import last_json, run
from fake_server import FakeServer
from makers import make_traces
from msifr_integrations import terms
from msifr_integrations.cli import main
from msifr_integrations.cli.help import TOPICS
from msifr_integrations.terms import TERMS, find, known_words
from msifr_policy.errors import InputError
from msifr_policy.records.traces import write_traces

THEORY = Path(__file__).parents[1] / "docs" / "theory.md"

PRINTED = (
    "saving rate s, false-reject rate f, net cost factor, certificate, confidence, α, δ, checkpoint, stage, evidence, "
    "validator, DEAD, ALIVE, UNKNOWN, belief, posterior, M, threshold, policy, path, price, length cap, oracle, "
    "accepted cost share, captured share, in hindsight, accepted, unaccepted, discarded, failed, skipped, wasted, "
    "survivors, coupling, conversion efficiency, prompt, attempt, sample, group, near-duplicates, scope, quota, "
    "history, difficulty, interval, independent samples, hazard, detection, false alarm, martingale, roulette, weight, "
    "audit stream, audited, Kish's number, e-process, e-value, alarm, warning, confidence sequence, drift, autopilot, "
    "phase, shadow, level, block, early exit, fail open, ledger, journal, resume, shard, final filter, gold, schedule, "
    "cost unit, log loss, goal, forecast, standard errors, bias, total variation, estimated saving, money, power, "
    "correlation, tokens"
)
"""What commands and reports print, as a reader would ask for it."""


@pytest.mark.parametrize("word", PRINTED.replace("rate s", "rate").replace("rate f", "rate").split(", "))
def test_every_printed_word_is_explained(word):
    assert find(word).meaning
    assert find(word).meaning in " ".join(run("help", *word.split()).stdout.split())


def test_terms_are_sentences_and_tell_more():
    for key, term in TERMS.items():
        assert key == term.name.casefold()
        assert term.meaning.endswith(".")
        assert ". " not in term.meaning, term.name
        assert 20 < len(term.meaning) < 160, term.name
        assert term.more.endswith("."), term.name
        assert term.more != term.meaning


def test_no_word_means_two_terms():
    seen = {}
    for name, each in terms._RECORDS.items():
        for word in (name, *each.get("also", ())):
            assert seen.setdefault(terms._plain(word), name) == name, word
    for word in known_words():
        assert find(word) in TERMS.values()
        assert find(word.upper() if len(word) > 3 else word) in TERMS.values()
    assert (find("R").name, find("r").name) == ("survivors", "cost to go")
    assert (find("A").name, find("a").name) == ("accepted", "false alarm")
    with pytest.raises(KeyError):
        find("nonsense")


@pytest.mark.skipif(not THEORY.exists(), reason="the source tree alone has docs")
def test_places_in_the_theory_exist():
    text = THEORY.read_text()
    sections = {f"§{number}" for number in re.findall(r"^## (\d+)\.", text, re.MULTILINE)}
    statements = {f"[{name}]" for name in re.findall(r"^### \[(T\d+)\]", text, re.MULTILINE)}
    assert {term.where for term in TERMS.values()} - {""} <= sections | statements


def test_help_without_words_lists_commands_topics_and_terms():
    said = " ".join(run("help").stdout.split())
    for word in (*main.commands, *TOPICS, *(term.name for term in TERMS.values())):
        assert word in said
    document = last_json(run("help", "--json"))
    assert [term["name"] for term in document["terms"]] == [term.name for term in TERMS.values()]
    assert {line["name"] for line in document["commands"]} == set(main.commands)


def test_help_takes_several_words_commands_and_topics():
    said = run("help", "s,", "f", "accepted", "cost", "share", "fit", "exit").stdout
    parts = ("saving rate (s)", "false-reject rate (f)", "accepted cost share", "fit [OPTIONS] TRACES", "130")
    places = [said.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("word", "near"), [("fakter", "factor"), ("certifcate", "certificate"), ("evalute", "evaluate")]
)
def test_help_knows_what_was_meant(word, near):
    said = run("help", word, code=2).stderr
    assert near in said.partition("did you mean ")[2]
    assert "msifr help lists all words" in run("help", "qqqqqq", code=2).stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    traces = make_traces(300, seed=11)
    write_traces(folder / "train.jsonl", traces[:220])
    write_traces(folder / "test.jsonl", traces[220:])
    said = run("fit", folder / "train.jsonl", "-o", folder / "p.json", "--posterior", "linear").stdout
    (folder / "fit.txt").write_text(said)
    return folder


LABELS = (
    "saving rate", "false-reject rate", "net cost factor", "plain length cap", "accepted cost share", "discarded",
    "independent samples", "certified", "beliefs", "held-out log loss", "knowing nothing", "checkpoints", "dead",
    "power",
    "standard errors", "accepted", "attempts", "prompts", "good samples", "confidence", "total variation", "costs",
)  # fmt: skip


def test_what_commands_print_ends_with_where_its_words_are_explained(files):
    """Every `msifr help …` that is printed works, and every technical word that is printed is known to it."""
    outputs = [
        (files / "fit.txt").read_text(),
        run("plan").stdout,
        run("score", files / "test.jsonl").stdout,
        run("evaluate", files / "p.json", files / "test.jsonl").stdout,
        run("simulate", "--attempts", 500).stdout,
    ]
    for said in outputs:
        last = said.strip().splitlines()[-1]
        named = re.fullmatch(r"\(msifr help (.+) explains these numbers\)", last)
        assert named, last
        run("help", *named[1].split())
    together = "\n".join(outputs)
    for label in LABELS:
        assert label in together, label
        word = {"costs": "cost"}.get(label, label)
        assert find(word), label


def test_no_command_prints_a_hash(files):
    """Counts and names help a reader, a hash does not."""
    for said in ((files / "fit.txt").read_text(), run("evaluate", files / "p.json", files / "test.jsonl").stdout):
        assert not re.search(r"\b(?=\w*\d)[0-9a-f]{12,}\b", said)


def test_exit_statuses_are_those_that_are_documented(tmp_path):
    text = TOPICS["exit"]
    assert [line.split()[0] for line in text.splitlines() if re.match(r"\d", line)] == ["0", "1", "2", "130"]
    few = tmp_path / "few.jsonl"
    write_traces(few, make_traces(40, seed=3))
    run("fit", few, "-o", tmp_path / "p.json", code=0)  # nothing certified: an answer, and no error
    run("fit", tmp_path / "missing.jsonl", "-o", tmp_path / "p.json", code=2)
    run("fit", few, code=2)
    run("nonsense", code=2)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_completion_in_bash(tmp_path):
    """The script that is printed is evaluated by a bash, which then completes options."""
    shim = tmp_path / "msifr"
    code = "import sys; sys.argv[0] = 'msifr'; from msifr_integrations.cli.entry import run; run()"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
    shim.chmod(0o755)
    script = """eval "$(msifr completion bash)"
    ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _msifr_completion msifr; echo "${COMPREPLY[*]}"; }
    ask msifr fit --max-f"""
    env = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    bash = shutil.which("bash")
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, timeout=120, env=env)  # noqa: S603
    assert done.stdout.splitlines() == ["--max-false-reject"], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell):
    said = run("completion", shell).stdout
    assert "_MSIFR_COMPLETE" in said
    assert json.loads(run("completion", shell, "--json").stdout) == {"shell": shell, "script": said[:-1]}


def test_doctor_says_that_all_is_well():
    said = run("doctor").stdout
    for words in ("msifr-policy", "Python", "embedded model", "attempts fitted, certified and replayed", "processors"):
        assert words in said
    assert "everything that is needed works" in said


def test_doctor_names_every_extra_and_how_to_install_it(monkeypatch):
    """Of what is not there it says what it would add, and the command; nothing that is not there is imported."""
    module = sys.modules["msifr_integrations.cli.doctor"]
    declared = set(importlib.metadata.metadata("msifr-policy").get_all("Provides-Extra"))
    assert declared - {"all", "dev", "docs"} == set(module.ADDS)
    monkeypatch.setattr(module, "version", missing := lambda name: _missing(name))
    document = last_json(run("doctor", "--json", code=1))
    assert missing("msifr-policy")
    assert document["healthy"] is False  # libraries that every command needs are gone, too
    assert not any(extra["installed"] for extra in document["extras"])
    for extra in document["extras"]:
        assert extra["install"] == f"pip install 'msifr-policy[{extra['name']}]'"
    assert document["device"]["gpus"] == []
    assert "torch" in document["device"]["note"]


def test_doctor_tells_the_remedy_of_what_does_not_work():
    module = importlib.import_module("msifr_integrations.cli.doctor")

    def broken():
        raise InputError("is broken", where="a.toml", remedy="mend it")

    check = module._tried("settings", broken)
    assert (check.works, check.found, check.remedy) == (False, "a.toml: is broken", "mend it")


def _missing(name):
    if name == "msifr-policy":
        return "0.1.0"
    raise importlib.metadata.PackageNotFoundError(name)


def test_doctor_finds_what_is_broken(monkeypatch, tmp_path):
    module = sys.modules["msifr_integrations.cli.doctor"]

    def broken():
        raise InputError("is broken", where="this", remedy="mend it")

    monkeypatch.setitem(module._CHECKS, "fit", broken)
    result = run("doctor", code=1)
    assert "this: is broken (mend it)" in result.stdout
    assert "something that is needed does not work" in result.stdout
    monkeypatch.setitem(module._CHECKS, "fit", lambda: "works")
    monkeypatch.chdir(tmp_path)
    Path("msifr.toml").write_text("[fit]\nmax-false-rejekt = 0.1\n")
    assert "max-false-reject" in run("doctor", code=1).stdout


def test_doctor_asks_a_server_what_it_is_and_can():
    module = sys.modules["msifr_integrations.cli.doctor"]
    with pytest.MonkeyPatch.context() as patch, FakeServer(kind="vllm") as server:
        patch.setattr(module, "_CHECKS", {"none": lambda: "nothing"})
        report = last_json(run("doctor", "--server", server.url, "--json"))["server"]
        assert (report["kind"], report["models"], report["tells_logprobs"]) == ("vllm", ["fake"], True)
        assert report["probe_tokens"] > 0
        with server.being(logprobs=False, refuses=("seed",)):
            report = last_json(run("doctor", "--server", server.url, "--api", "completions", "--json"))["server"]
        assert (report["tells_logprobs"], report["seeded"]) == (False, False)
        with server.being(down=503):
            said = run("doctor", "--server", server.url, code=1).stdout
        assert "the server is not ready: HTTP 503" in said
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHECKS", {"none": lambda: "nothing"})
        assert "no server answers" in run("doctor", "--server", "http://127.0.0.1:9", code=1).stdout


def test_several_of_a_term_are_spelled_as_in_english():
    assert find("conversion efficiencies") is find("conversion efficiency")
    assert not any(word.endswith("ys") for word in known_words())
