"""Loops are found early and measured right; what merely looks alike is no loop."""

from __future__ import annotations

import gc
import math
import time
from random import Random
from types import FunctionType, ModuleType

import pytest

from msifr_policy.testing.validators import check_chunking, check_memory
from msifr_policy.validators import Repetition, Verdict
from msifr_policy.validators.repetition import loop_kind


def draw_from(letters: str, k: int, seed: int) -> str:
    """`k` random letters that replay."""
    return "".join(Random(seed).choices(letters, k=k))  # noqa: S311 (not for secrets)


PROSE = "".join(f"Item {i}: {draw_from('0123456', 20, i)} of {draw_from('qrstuvw', 15, i)}.\n" for i in range(400))


def scores(text: str, rule: Repetition | None = None) -> dict[str, float]:
    rule = rule or Repetition()
    return dict(zip(rule.columns, rule.start("").feed(text).scores, strict=True))


def sentences(n: int, seed: int = 0) -> str:
    """`n` characters of made-up words, a full stop now and then."""
    draw = Random(seed)  # noqa: S311 (not for secrets)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(n)]
    return " ".join(word + "." * (draw.random() < 0.1) for word in words)[: n - 1] + " "


@pytest.mark.parametrize(
    "period", [9, 31, 64, 100, 333, 1000, 1900, 1984, 1985, 2048, 2500, 4095, 7000, 14_300, 20_000]
)
@pytest.mark.parametrize("before", [0, 1, 500, 9000, 20_000])
def test_a_loop_is_measured(period: int, before: int) -> None:
    """Period, length and repeats are exact at the last look, whatever comes before."""
    unit = sentences(period, period)
    text = PROSE[:before] + unit * max(3, 6000 // period)
    seen = scores(text)
    end = len(text) - len(text) % 64
    assert seen["period"] == period
    assert 0 <= seen["loop"] - (end - before) <= 2  # the text before may happen to fit
    assert seen["repeats"] == pytest.approx(seen["loop"] / period)
    assert seen["longest"] == seen["loop"]


def test_a_loop_is_found_early() -> None:
    """DEAD comes within one look of 300 characters and three repeats."""
    state = Repetition().start("")
    state.feed(PROSE[:1000])
    unit = "and then she adds the two numbers again, "
    fed = 0
    while state.feed(unit).verdict is not Verdict.DEAD:
        fed += len(unit)
        assert fed < 300 + 2 * 64 + len(unit)


def test_the_verdict_lasts_as_long_as_the_loop() -> None:
    state = Repetition().start("")
    assert state.feed("the same words " * 40).verdict is Verdict.DEAD
    after = state.feed(PROSE[:1000])
    assert after.verdict is Verdict.UNKNOWN
    assert after.scores[0] == 0
    assert after.scores[4] >= 500


EQUAL = {
    "zeros": "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],\n",
    "floats": "    [0.0, 0.0, 0.0],\n",
    "a table": "| yes | no | not available |\n",
    "CSV": "red,green,blue\n",
    "CSV of several words": '"not available","not yet known","no"\n',
    "tabs": "not available\tnone\tnot known\n",
    "a list": '["x", "x"],\n',
    "truth values": "True, False, True\n",
    "base64": "QUFB" * 19 + "\n",
    "DNA": "ATGCAT" * 10 + "\n",
    "codons": "CAG CAG CAG CAG\n",
    "bytes": "de ad 00 ff\n",
    "a picture": "  /\\_/\\ ( o.o )  \n",
    "boxes": "+----+----+\n|    |    |\n",
    "a board": "o x o x o x o x\n",
    "HTML": "<tr><td>0</td><td>not set</td></tr>\n",
    "JSON": '{"x": 0, "y": 0},\n',
    "LaTeX": "a & 0 & \\alpha \\\\ \\hline\n",
    "SQL": "(0, 'none', NULL),\n",
    "a matrix in a line": "[0, 0, 0, 0], ",
    "records in a line": '{"name": "", "value": null}, ',
    "placeholders": "(?, ?), ",
    "code": "    row.append(0)\n",
    "statements": "INSERT INTO t VALUES (0, 'not known');\n",
    "YAML": "  - not\n",
}
CELLS = {
    "ones": "1, ",
    "quoted": '"red", ',
    "words": "red, ",
    "one letter": "A",
    "zeros": "0",
    "rule": "-",
    "base64": "QUFBRUJC",
    "DNA": "CAG",
    "codons": "CAG ",
    "bits": "01",
    "bytes": "00 FF ",
    "tags": "<td>0</td>",
    "tagged words": "<td>not known</td>",
    "sum": "1 + ",
    "emoji": "⬜⬛",
    "cards": "K♠ Q♠ ",
}


@pytest.mark.parametrize("row", EQUAL.values(), ids=EQUAL)
def test_equal_rows_may_be_an_answer(row: str) -> None:
    """A hundred times a hundred zeros are an answer; a megabyte of rows is none."""
    unit = row * (9000 // len(row))
    state = Repetition().start("")
    evidence = state.feed("Here they are:\n" + unit)
    assert evidence.verdict is Verdict.UNKNOWN
    assert evidence.scores[0] == evidence.scores[4] == 0
    assert evidence.scores[3] >= len(unit) - 64 - len(row)
    assert state.feed(unit * 2).verdict is Verdict.DEAD


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_equal_cells_may_be_an_answer(cell: str) -> None:
    unit = cell * (2500 // len(cell))
    state = Repetition().start("")
    evidence = state.feed("Here they are: " + unit)
    assert evidence.verdict is Verdict.UNKNOWN
    assert evidence.scores[0] == evidence.scores[4] == 0
    assert evidence.scores[3] >= len(unit) - 64 - len(cell)
    assert state.feed(unit).verdict is Verdict.DEAD


@pytest.mark.parametrize(
    "period",
    [
        "Row, row, row your boat,\nGently down the stream,\nMerrily, merrily, merrily,\nLife is but a dream;\n",
        "La la la, sing along\n",
        "- not applicable\n",
        r"\frac{1}{3} \log \frac{1}{3} + ",
        "(a + b) * (a + b) * ",
    ],
)
def test_refrains_and_equal_terms_may_be_said_more_often(period: str) -> None:
    state = Repetition().start("")
    assert state.feed(period * (1000 // len(period))).verdict is Verdict.UNKNOWN
    assert state.feed(period * (1000 // len(period))).verdict is Verdict.DEAD


@pytest.mark.parametrize("blank", ["\n", " ", "\t", " \n", "\u00a0", "\u3000\n"])
def test_white_space_is_no_answer(blank: str) -> None:
    state = Repetition().start("")
    assert state.feed(blank * (900 // len(blank))).verdict is Verdict.UNKNOWN
    assert state.feed(blank * 300).verdict is Verdict.DEAD


@pytest.mark.parametrize(
    "sentence",
    [
        "again ",
        "The answer is 42. ",
        "Wait, no. ",
        "Wait, let me check that once more.\n\n",
        "It isn't so, and we'll see why.\n",
        r"I'll use \boxed{460}. ",
        "Then $a^2 = b^2 + c^2$ as we know, and so we get $a^2 = b^2$ again.\n",
        "Это неправильно. ",
        "Noch einmal von vorn, bitte. ",
        "这不对，我们再试一次。",
        "これは正しいです。",
        "다시 확인해 보겠습니다. ",
        "ลองอีกครั้งหนึ่ง",
        "دعنا نتحقق مرة أخرى. ",
        "आइए फिर से जांच करें। ",
        "Hãy kiểm tra lại. ",
    ],
)
def test_words_in_a_row_are_text(sentence: str) -> None:
    """Of whatever script; a period cut anywhere is of the same kind."""
    assert Repetition().start("").feed("Well, " + sentence * (500 // len(sentence) + 1)).verdict is Verdict.DEAD
    for cut in range(len(sentence)):
        assert loop_kind(sentence[cut:] + sentence[:cut]) == "text", cut


@pytest.mark.parametrize(
    "turn",
    [
        "Yes.<|im_end|>\n<|im_start|>assistant\n",
        "</think>\n",
        "<think> 1 + 1 = 2 </think>\n",
        "<answer>12</answer>\n",
        "[INST] 7 [/INST] ",
        "7<end_of_turn>\n",
    ],
)
def test_marks_of_a_chat_are_no_cells(turn: str) -> None:
    state = Repetition().start("")
    assert state.feed(turn * (256 // len(turn))).verdict is Verdict.UNKNOWN
    assert state.feed(turn * 20).verdict is Verdict.DEAD


@pytest.mark.parametrize(
    "prompt",
    [
        "Write the sentence 'I will not talk in class.' 100 times.",
        "Please repeat after me, two hundred times: I will not talk in class.",
        "Show your skill: print 'I will not talk in class.' 1,000 times",
        "Repeat the sentence over and over.",
        "请把“我不讲话”写100遍。",
    ],
)
def test_what_is_ordered_to_be_repeated_is_an_answer(prompt: str) -> None:
    """As far as rows are; after a prompt that only speaks of times it is a loop."""
    line = "I will not talk in class.\n"
    state = Repetition().start(prompt)
    assert state.feed(line * 700).verdict is Verdict.UNKNOWN
    assert state.feed(line * 200).verdict is Verdict.DEAD
    assert Repetition().start(prompt).feed("\n" * 1100).verdict is Verdict.DEAD
    for other in ("", "Tom says hello 5 times.", "What is 3 times 4? Write the answer.", "He repeats it. How often?"):
        assert Repetition().start(other).feed(line * 20).verdict is Verdict.DEAD


@pytest.mark.parametrize("unit", ["\n", " ", ", ", "say ", "repeat a", "say\n", "写1", "a hundred "])
def test_hostile_prompts_take_linear_time(unit: str) -> None:
    start = time.process_time()
    Repetition().start(unit * 20_000)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "counted", ["    row_{i} = compute(data[{i}], weight)\n", "Case {i} leaves {i}, which is odd. "]
)
@pytest.mark.parametrize("n", [20, 92, 250])
def test_a_block_that_counts_within_is_a_loop(counted: str, n: int) -> None:
    """A block of up to some ten thousand characters, each time the same; one that goes on counting is none."""
    block = "".join(counted.replace("{i}", str(i)) for i in range(n))
    state = Repetition().start("")
    assert state.feed(PROSE[:3000] + block * 2).verdict is Verdict.UNKNOWN
    assert state.feed(block * 2).verdict is Verdict.DEAD
    going_on = "".join(counted.replace("{i}", str(i)) for i in range(5 * n))
    assert scores(going_on)["loop"] == 0


def test_a_period_of_nearly_equal_halves_is_found_whole() -> None:
    """The nearest earlier occurrence is half a period away and is not followed for long."""
    half = sentences(3500, 7)
    block = half + "So it is odd. " + half + "So it is even. "
    state = Repetition().start("")
    state.feed(PROSE[:1000] + block * 3)
    evidence = state.feed(block)
    assert (evidence.verdict, evidence.scores[2]) == (Verdict.DEAD, len(block))


def test_a_passage_that_comes_again_is_no_loop() -> None:
    """A long passage told again after others, as in a refrain, may begin like a period but does not go on as one."""
    verses = [sentences(900, seed) for seed in range(12)]
    refrain = sentences(1500, 99)
    state = Repetition().start("")
    for verse in verses:
        evidence = state.feed(verse + refrain)
        assert (evidence.verdict, evidence.scores[0]) == (Verdict.UNKNOWN, 0)


@pytest.mark.parametrize("period", [1500, 3000, 9000])
def test_chunking_and_memory_hold_for_long_periods(period: int) -> None:
    """However the text is cut, a long period is found at the same place; no more is kept than the windows."""
    unit = sentences(period)
    check_chunking(Repetition(), PROSE[:700] + unit * 3 + unit[: period // 3] + PROSE[:900], seed=period)
    check_memory(Repetition(), unit)


def test_text_without_a_loop() -> None:
    seen = scores(PROSE)
    assert seen["loop"] == seen["trivial"] == seen["longest"] == 0
    assert Repetition().start("").feed(PROSE).verdict is Verdict.UNKNOWN


def test_novelty_takes_digits_for_equal() -> None:
    """Counting up says nothing new; fresh words do."""
    fresh = " ".join(draw_from("abcdefgh", 6, i) for i in range(500))
    counting = "".join(f"In step {i} we try the number {i * i} and it does not work.\n" for i in range(200))
    assert scores(fresh)["novelty"] == 1.0
    assert scores(fresh + counting)["novelty"] == 0.0
    assert scores(fresh + counting)["old_lines"] == 1.0
    assert scores(counting)["loop"] == 0
    assert math.isnan(scores("few words")["novelty"])


def test_novelty_takes_numbers_and_capitals_for_equal() -> None:
    """A number is one word wherever the looks fall; capitals make nothing new."""
    near = "".join(f"{'We' if i % 2 else 'we'} add {10 ** (i % 9)} to it and go on.\n" for i in range(200))
    assert scores(near)["novelty"] == 0.0
    assert scores(near)["old_lines"] == 1.0


def test_evidence_is_the_same_in_every_process() -> None:
    """Salted hashes would make it depend on the process, if ever so rarely."""
    state = Repetition().start("")
    state.feed(PROSE)
    met, left = [], [state]
    while left:
        thing = left.pop()
        if isinstance(thing, set):  # what was seen
            met += thing
        left += [item for item in gc.get_referents(thing) if not isinstance(item, type | FunctionType | ModuleType)]
    assert {type(item) for item in met} == {int, tuple}
    assert all(type(word) is int for item in met if isinstance(item, tuple) for word in item)
