"""The embedded model: its problem generator, its weights and the generations recorded from it."""

import gzip
import json
import re
import socket
import subprocess
import sys
from typing import Any, NoReturn

import msgspec
import numpy as np
import pytest
from scipy import stats

from msifr_integrations.embedded import (
    EMBEDDED_MODEL,
    Problem,
    embedded_model_path,
    embedded_samples_path,
    problem,
    problems,
    split_of,
)
from msifr_integrations.embedded.record import DATASET, MAX_NEW_TOKENS, is_correct, record
from msifr_integrations.embedded.word_problems import LARGEST, MAX_STEPS, MIN_STEPS
from msifr_integrations.generation.generate import GenerateOptions
from msifr_policy.errors import InputError

STEP = re.compile(r"[^:]+: (\d+)([-+*/])(\d+)=(\d+)\.")


def holds(left: int, sign: str, right: int, result: int) -> bool:
    if sign == "/":
        return right * result == left
    return {"+": left + right, "-": left - right, "*": left * right}[sign] == result


@pytest.mark.parametrize("split", ["train", "fresh"])
def test_every_solution_is_exact(split: Any) -> None:
    seen = set()
    for task in problems(11, 1_000, split=split):
        *lines, last = task.solution.split("\n")
        known = {int(number) for number in re.findall(r"\d+", task.prompt)} | {
            2,
            3,
            4,
            5,
        }  # half, doubles, ...
        for line in lines:
            match = STEP.fullmatch(line)
            assert match, line
            left, right, result = int(match[1]), int(match[3]), int(match[4])
            assert holds(left, match[2], right, result), line
            assert {left, right} <= known, f"a number out of nowhere: {line}"
            assert 1 <= min(left, right, result) <= max(left, right, result) <= LARGEST
            known.add(result)
            seen.add(match[2])
        assert last == f"#### {task.gold}"
        assert int(task.gold) == result
        assert task.group == f"{len(lines)}-step"
        assert MIN_STEPS <= len(lines) <= MAX_STEPS
        assert task.prompt.endswith("?\n")
    assert seen == set("+-*/")


def test_a_problem_replays_alone() -> None:
    assert [problem(5, index) for index in range(50)] == list(problems(5, 50))
    assert problem(5, 7) != problem(6, 7)
    assert problem(5, 7) != problem(5, 7, split="train")


def test_the_stream_is_pinned() -> None:
    """The shipped model and samples were made with exactly these problems."""
    assert problem(0, 0) == PINNED


PINNED = Problem(
    prompt_id="embedded:2feb80e3ba57",
    prompt=(
        "Ben has 35 nails. Then he gets 5 boxes of 13. Then he finds as many as at the start. How "
        "many nails does Ben have?\n"
    ),
    solution=("5 boxes of 13: 5*13=65.\nHe adds them: 35+65=100.\nAs many as at the start, 35: 100+35=135.\n#### 135"),
    gold="135",
    group="3-step",
)


def test_fresh_and_training_problems_never_meet() -> None:
    training = {task.prompt for task in problems(0, 4_000, split="train")}
    fresh = {task.prompt for task in problems(0, 1_500)} | {task.prompt for task in problems(1, 1_500)}
    assert training.isdisjoint(fresh)
    assert all(split_of(prompt) == "train" for prompt in training)
    assert all(split_of(prompt) == "fresh" for prompt in fresh)
    assert len(fresh) > 2_900


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="counts from 0"):
        problem(0, -1)
    with pytest.raises(InputError, match="no such split"):
        problem(0, 0, split="test")  # type: ignore[arg-type]


def test_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, msifr_integrations.embedded, msifr_integrations.embedded.record;"
        "from msifr_integrations.embedded import problem, problems;"  # functions, whatever was imported before
        "next(problems(0, 1)).prompt == problem(0, 0).prompt or sys.exit(1);"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("a: 1+1=2.\n#### 2", True),
        ("#### 3\n#### 2\n", True),
        ("#### 2\n#### 3", False),
        ("#### 2.", False),
        ("#### 12", False),
        ("2", False),
        ("", False),
    ],
)
def test_correct_reads_the_last_mark(text: str, correct: bool) -> None:
    assert is_correct(text, "2") is correct


# The recorded generations


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    with gzip.open(embedded_samples_path(), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_recorded_generations_are_valid(records: list[dict[str, Any]]) -> None:
    assert embedded_samples_path().stat().st_size <= 300_000
    assert len(records) >= 1_200
    assert len({one["id"] for one in records}) == len(records)
    tasks = {task.prompt_id: task for task in problems(0, 600)}
    assert {one["prompt_id"] for one in records} == set(tasks)
    for one in records:
        task = tasks[one["prompt_id"]]
        digest = one["prompt_id"].removeprefix("embedded:")
        assert re.fullmatch(rf"{DATASET}/{re.escape(EMBEDDED_MODEL)}/{digest}/\d+", one["id"])
        assert (one["dataset"], one["model"]) == (DATASET, EMBEDDED_MODEL)
        assert (one["prompt"], one["gold"], one["group"]) == (task.prompt, task.gold, task.group)
        assert one["correct"] is is_correct(one["text"], one["gold"])
        ends = one["token_ends"]
        assert len(ends) == one["tokens"] <= MAX_NEW_TOKENS
        assert ends == sorted(ends)
        assert ends[-1] == len(one["text"])
        assert "<eos>" not in one["text"]
        assert one["prompt_tokens"] > 20
        if one["tokens"] < MAX_NEW_TOKENS:  # stopped by the end token, which has no text
            assert ends[-2:] in ([len(one["text"])] * 2, [0])


def test_recorded_generations_are_a_realistic_mix(records: list[dict[str, Any]]) -> None:
    """Facts about the committed file, so there is no sampling error."""
    wrong = [one for one in records if not one["correct"]]
    assert 0.3 <= 1 - len(wrong) / len(records) <= 0.7
    caught = [first_false(one["text"]) for one in wrong]
    positions = [at / len(one["text"]) for at, one in zip(caught, wrong, strict=True) if at is not None]
    assert 0.6 <= len(positions) / len(wrong) <= 0.98  # most wrong answers, and not all
    assert np.median(positions) <= 0.6
    groups = {one["group"] for one in records}
    assert groups == {f"{steps}-step" for steps in range(MIN_STEPS, MAX_STEPS + 1)}


def first_false(text: str) -> int | None:
    """Characters up to the end of the first equation that does not hold, or None."""
    for match in re.finditer(r"(\d+)([-+*/])(\d+)=(\d+)\.", text):
        if not holds(int(match[1]), match[2], int(match[3]), int(match[4])):
            return match.end()
    return None


# The model


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    """The shipped model (float32) and tokenizer, loaded while every connection is refused."""
    transformers = pytest.importorskip("transformers")

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("loading the embedded model opened a connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        path = embedded_model_path()
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype="float32").eval()
        return model, transformers.AutoTokenizer.from_pretrained(path)


def test_model_loads_offline_and_is_small(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    assert sum(file.stat().st_size for file in embedded_model_path().iterdir()) <= 8_000_000
    assert model.config.eos_token_id == tokenizer.eos_token_id == model.generation_config.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.config.vocab_size == len(tokenizer)
    task = problem(0, 0)
    ids = tokenizer.encode(task.prompt)
    assert tokenizer.decode(ids) == task.prompt  # nothing added, nothing lost
    assert ids + tokenizer.encode(task.solution) == tokenizer.encode(task.prompt + task.solution)
    assert tokenizer.tokenize("417") == ["4", "1", "7"]
    report = json.loads((embedded_model_path() / "training.json").read_text(encoding="utf-8"))
    assert report["weights"] == model.num_parameters()


def test_model_is_right_about_half_the_time(loaded: tuple[Any, Any]) -> None:
    """200 fresh problems, one generation each at temperature 1, so 200 independent trials.

    The check passes if between 36 and 164 are correct. False alarm: at most 1e-4 for any true accuracy in
    30-70 %. Miss: at most 1e-3 for a true accuracy of 9 % or 91 %.
    """
    n, low, high = 200, 36, 164

    def passes(accuracy: float) -> float:
        return float(stats.binom.cdf(high, n, accuracy) - stats.binom.cdf(low - 1, n, accuracy))

    assert 1 - min(passes(0.3), passes(0.7)) <= 1e-4
    assert max(passes(0.09), passes(0.91)) <= 1e-3
    drawn = record(*loaded, list(problems(2, n)), options(seed=2, slots=100))
    assert len(drawn) == n
    assert low <= sum(one.accepted for one in drawn) <= high
    assert np.mean([one.tokens < MAX_NEW_TOKENS for one in drawn]) > 0.9


def test_recording_replays(loaded: tuple[Any, Any], records: list[dict[str, Any]]) -> None:
    """Attempts drawn again, in another batch, come out the same, and as traces of the recorded format.

    The recorded samples themselves came from other random streams.
    """
    tasks = list(problems(0, 16))
    once = record(*loaded, tasks, options(attempts=2, slots=16))
    again = record(*loaded, tasks[::-1], options(attempts=2, slots=7))
    assert len(once) == 32
    assert sorted(once, key=lambda one: one.id) == sorted(again, key=lambda one: one.id)
    recorded = {one["id"]: one for one in records}
    given = ("dataset", "model", "prompt_id", "prompt", "gold", "group", "prompt_tokens")
    for one in map(msgspec.to_builtins, once):
        assert one.keys() == recorded[one["id"]].keys()
        assert [one[name] for name in given] == [recorded[one["id"]][name] for name in given]
        assert one["correct"] is is_correct(one["text"], one["gold"])
        assert one["token_ends"][-1] == len(one["text"])


def test_greedy_is_deterministic_and_the_cap_holds(loaded: tuple[Any, Any]) -> None:
    tasks = list(problems(3, 8))
    one, other = (record(*loaded, tasks, options(temperature=0, seed=s, max_new_tokens=20)) for s in (0, 1))
    assert [drawn.text for drawn in one] == [drawn.text for drawn in other]
    assert all(drawn.tokens == len(drawn.token_ends or ()) <= 20 for drawn in one)


def options(**given: Any) -> GenerateOptions:
    return GenerateOptions(**{"attempts": 1, "max_new_tokens": MAX_NEW_TOKENS} | given)


def test_training_runs_and_drills_are_true() -> None:
    pytest.importorskip("transformers")
    from msifr_integrations.embedded.train import equations, train

    for equation in equations(np.random.default_rng(0), 2_000):
        match = STEP.fullmatch(f"drill: {equation}.")
        assert match, equation
        numbers = int(match[1]), int(match[3]), int(match[4])
        assert holds(numbers[0], match[2], *numbers[1:]), equation
        assert 1 <= min(numbers) <= max(numbers) <= LARGEST
    model, tokenizer, spent = train(seed=0, steps=3)
    assert model.num_parameters() == 1_230_240
    assert len(tokenizer) == 512
    assert all(np.isfinite(loss) for loss in spent["final_loss"].values())
