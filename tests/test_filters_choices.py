"""Choices: the letter an answer names is read in any usual form, and several, denied or accidental letters are none."""

from __future__ import annotations

import time
from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.reading.choices import choice_of, options_of

OPTIONS = {"A": "12 apples", "B": "Both A and C", "C": "Paris", "D": "None of the above", "E": "$\\frac{1}{2}$"}

FORMS = [
    "({})",
    "{}",
    "{}.",
    "{})",
    "({}).",
    "{}) twelve pears",
    "{}: twelve pears",
    "({}) twelve pears, which is all",
    "**{}**",
    "**({})**",
    "`{}`",
    '"{}"',
    "[{}]",
    "${}$",
    "\\text{{{}}}",
    "\\text{{({})}}",
    "\\textbf{{({})}}\\ 12",
    "$\\boxed{{{}}}$",
    "Option {}",
    "option ({})",
    "Choice_{}",
    "Choice\\_{}",
    "The answer is {}",
    "The answer is {}.",
    "The correct answer is ({}).",
    "Answer seems to be {}",
    "the best choice is option {}, since it fits",
    "It's {}.",
    "Answer: {}",
    "**Answer:** ({})",
    "I think it is ({}) because",
    "La respuesta es {}",
    "Die richtige Antwort ist {}.",
    "答案：{}",
    "答案是{}。",
    "故选{}",
    "正确答案是（{}）",
    "选项{}正确",
    "{}!",
    "{} → 12",
    "{}, because the others are wrong",
    "{} because the others are wrong",
    "{}, not the other one",
    "({})\n\nBecause of (Z) and (Y).",
    "({}). The others, (Z) and (Y), are wrong.",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("letter", ["A", "B", "H", "I"])
def test_a_letter_is_read_in_any_form(form: str, letter: str) -> None:
    assert choice_of(form.format(letter)) == letter
    assert choice_of(form.format(letter), {"A": "one", "B": "two", "H": "three", "I": "four"}) == letter


@pytest.mark.parametrize("form", ["({})", "{}", "{})", "{}.", "option {}", "answer: ({})", "\\text{{({})}}"])
def test_small_letters_and_wide_ones_count(form: str) -> None:
    assert choice_of(form.format("b")) == "B"
    assert choice_of(form.format("Ｂ")) == "B"


SEVERAL = ["{} or {}", "{} and {}", "({}) and ({})", "({}), or ({})", "{}, {}", "{}/{}", "both ({}) and ({})"]
SEVERAL += [
    "Comparing ({}) with ({}) of the list",
    "option ({}) or option ({})",
    "({}) one or ({}) two",
    "Choice_{}/{}",
    "either {} or {}",
    "({}, {})",
]


@given(st.sampled_from(SEVERAL), st.permutations("BCDEFGH"))
def test_an_answer_that_names_several_names_none(form: str, letters: list[str]) -> None:
    assert choice_of(form.format(*letters[:2])) is None


DENIED = ["not B", "not (B)", "neither (A) nor (B)", "(E) is incorrect", "(E) isn't right", "B is not it", "B?", "(B)?"]
DENIED += ["答案不是B", "not among the choices, but close to (E)"]
ACCIDENTAL = [
    "",
    "none",
    "A dog",
    "A few of them",
    "B cells",
    "Vitamin C",
    "Vitamin C is it",
    "Na(s)",
    "H2A",
    "AB",
    "C/m",
]
ACCIDENTAL += [
    "x = C m",
    "f(A)",
    "I am sure",
    "I for one think so",
    "A while ago",
    "(B",
    "the best option a person has",
    "the answer I gave",
]


@pytest.mark.parametrize("text", DENIED + ACCIDENTAL)
def test_a_denied_or_accidental_letter_is_none(text: str) -> None:
    assert choice_of(text) is None


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("12 apples", "A"),
        ("A. 12 apples", "A"),
        ("A 12 apples", "A"),
        ("(B) Both A and C", "B"),
        ("Both A and C", "B"),
        ("paris.", "C"),
        ("**Paris**", "C"),
        ("The answer is Paris.", "C"),
        ("Paris, because it is", "C"),
        ("C - Paris", "C"),
        ("(None of the above)", "D"),
        ("0.5", "E"),
        ("1/2", "E"),
        ("12", "A"),
        # The letter of one choice with the text of another; a number with other units; no choice at all.
        ("C. 12 apples", None),
        ("(A) 12 apples or (C) Paris", None),
        ("12 pears", None),
        ("13", None),
        ("London", None),
        ("not Paris", None),
        ("(F)", None),
    ],
)
def test_a_text_names_its_choice_too(text: str, letter: str | None) -> None:
    assert choice_of(text, OPTIONS) == letter


def test_two_choices_with_the_same_text_are_named_by_letter_only() -> None:
    options = {"A": "7", "B": "7.0", "C": "8"}
    assert choice_of("7", {"A": "7", "B": "7"}) is None
    assert choice_of("7.00", options) is None
    assert choice_of("(B) 7.0", options) == "B"


def test_a_text_that_is_a_letter_names_that_letter() -> None:
    assert choice_of("(D)", {"A": "C", "B": "D", "C": "A", "D": "B"}) == "D"


STYLES = [
    ("Which?\n{}", "({}) {}", "\n"),
    ("Which?\nOptions:\n{}", "({}) {}", "\n"),
    ("Which?\nOptions:\n{}\nAnswer:", "{}. {}", "\n"),
    ("Which?\n{}", "{}) {}", "\n"),
    ("Which?\n{}", "{}: {} ", "\n"),
    ("Which?\n{}", "- {}) {}", "\n"),
    ("Which?\n{}", "**{}.** {}", "\n"),
    ("Which?\n{}", "  {}. {}", "\n"),
    ("Which?\n{}", "{}.{}", "\n"),
    ("哪个?\n{}", "{}、{}", "\n"),
    ("哪个?\n{}", "{}．{}", " "),
    ("Which? {}", "({}) {}", " "),
    ("Which? {}", "({}) {}", ", "),
    ("Which? {}", "{}) {}", " "),
    ("Which? {}", "{}. {}", " "),
    ("Which?\n{}\nAnswer with (A), (B) or (C).", "({}) {}", "\n"),
    ("Q: Which?\nA. no\nB. yes\nA: B\n\nQ: Which, in country A or by J. A. Smith?\n{}\nA:", "{}. {}", "\n"),
]
TEXTS = st.sampled_from(["a carrot", "12", "0.5 m/s", "J. B. Smith", "to be or not", "x^2 + 1", "苹果", "country A."])


@given(st.sampled_from(STYLES), st.lists(TEXTS, min_size=3, max_size=10))
def test_the_choices_of_a_prompt_are_read_in_any_style(style: tuple[str, str, str], texts: list[str]) -> None:
    frame, item, between = style
    if between != "\n":
        texts = [text.replace(".", "") for text in texts]
    listed = between.join(item.format(letter, text) for letter, text in zip(ascii_uppercase, texts, strict=False))
    assert list(options_of(frame.format(listed)).items()) == list(zip(ascii_uppercase, texts, strict=False))


def test_typeset_letters_are_choices() -> None:
    prompt = "$\\textbf{(A)}\\ 1\\qquad\\textbf{(B)}\\ \\frac{1}{2}\\qquad\\textbf{(C)}\\ 3$"
    assert options_of(prompt) == {"A": "1", "B": "\\frac{1}{2}", "C": "3"}


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "How many?",
        "Choose A, B, C or D.",
        "by J. A. Smith and B. Jones",
        "(A) only",
        "Say (A), (B), or (C).",
        "A: 5",
    ],
)
def test_a_prompt_without_choices_offers_none(prompt: str) -> None:
    assert options_of(prompt) == {}


PIECES = ["(A) ", "A. ", "\nA) ", "\nB) ", "A", "(", "**", "and ", "B, ", "B/", "x ", "答", "\\text{", "is ", ".", "\n"]


@pytest.mark.parametrize("piece", PIECES)
def test_time_is_linear_in_hostile_text(piece: str) -> None:
    started = time.process_time()
    choice_of(piece * 4000, OPTIONS)
    choice_of((piece * 4000)[:4000], OPTIONS)
    options_of(piece * 20_000)
    assert time.process_time() - started < 5  # quadratic time would take minutes


@given(st.text(alphabet="ABab ().,:/*\\_{}$is not答案是\n", max_size=40))
def test_only_letters_of_choices_are_named(text: str) -> None:
    assert choice_of(text, {"A": "one", "B": "two"}) in ("A", "B", None)
