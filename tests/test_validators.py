"""The contract of `validators.base`: every built-in rule keeps it, and what breaks it is caught.

And the registry: names, parameters, and plug-ins of other packages.
"""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from makers import some_probe, some_words
from msifr_policy.errors import InputError
from msifr_policy.records.traces import read_traces
from msifr_policy.testing import check_validator
from msifr_policy.testing.validators import LONG, check_chunking, check_cost, check_memory
from msifr_policy.validators import (
    NO_TOKENS,
    AnswerMarker,
    Arithmetic,
    Evidence,
    Grammar,
    History,
    JsonSchemaPrefix,
    JsonText,
    Length,
    Logprobs,
    Phrases,
    Program,
    Question,
    Regular,
    Repetition,
    Tokens,
    Validator,
    ValidatorSpec,
    ValidatorState,
    Verdict,
    Words,
    built_in_validators,
    default_validator,
    default_validators,
    describe,
    make_validator,
    registry,
    validator_names,
)

SCHEMA = {
    "type": "object",
    "properties": {"reasoning": {"type": "string"}, "answer": {"type": ["string", "integer"]}, "a": {"enum": ["x", 1]}},
    "required": ["answer"],
    "additionalProperties": False,
}
RULES: list[Validator] = [
    *built_in_validators(),
    JsonSchemaPrefix(SCHEMA),
    Regular(r"(?s:.)*[0-9= ]{3}(?s:.)*\n?"),
    Grammar('start: (item | LINE)*\nitem: "(" item* ")"\nLINE: /[^()]+/'),
    Program("add"),
    some_words(),
    some_probe(),
    History(2, 3),
]
"""One of each kind, as it is used."""
VALIDATORS: list[Validator] = [
    *RULES,
    Arithmetic(strikes=2, reflective=3),
    Repetition(characters=128, repeats=2.0, trivial=128),
    Length(cap=100),
    AnswerMarker(markers=("box", "json"), answers=2, json_only=True),
    JsonText(place="whole"),
    JsonText(place="object"),
    JsonSchemaPrefix({"type": ["array", "string"], "items": {"$ref": "#"}, "maxLength": 9}, place="whole"),
    JsonSchemaPrefix(SCHEMA, place="object"),
    Logprobs(window=3),
    Phrases(refusals=1),
    Question(strict=True),
    Program(),
    Regular(),
    Grammar(),
    JsonSchemaPrefix(),
    Regular(r"[a-z0-9 +=\n]{0,20}(?:loop )*"),
]
each = pytest.mark.parametrize("validator", VALIDATORS, ids=repr)

LINES = r"""
3+4=7|3 + 4 = 8|1,234.5 / 2 = |\frac{1}{2} + \frac{1}{3} = \frac{5}{6}|2 \times 3 = 7|2/3 ≈ 0.67|= 12
20% of 50 = 10|\n|\ne 3|\\n\\n|. |, |; |: | so |! |?|"|",| |  |5!|Wait, |wait|Let me double-check|mod 3|≡
#### 72|####|#|\boxed{7}|\boxed{\frac{1}{2}}|\boxed{|}|{|The answer is (C)|answer is: 5.|Answer: |answer
"answer": "7"|"answer": |{"reasoning": "a \" b", |"answer": 3}|{ "|\|\"|<<3*4=12>>|$5|€|(|)|[|]|**|-|0|9|x
a b c d e f g h |loop loop loop loop |-----|=====|00000|the same sentence again and again. |step 12: go on
I'm sorry, but I can|I cannot help|'t help with |As an AI |language model|Maybe |[Insert name]|?"|How many
```json|```|{"a": "x"|"a"|"reasoning": "b\u0|0e9"|\ud83d|\n|[|]|[["|"]|1e|5}|true|nul|l, |"answer": 12|:
und das ist |le les des |答案是七个|これらの数|так как |−5|= -5 |= 2.5 and |12,000
"""
FRAGMENTS = st.sampled_from(
    [
        *LINES.strip("\n").replace("\n", "|").split("|"),
        *(
            "\n",
            "\n\n",
            "\t",
            "= 4 - 1\n= 3\n",
            "a loop of text " * 9,
            "-" * 200,
            "=" * 90,
            " " * 90,
            "\n" * 40,
            '{"reasoning": "so", "a": 1, "answer": 7}',
            "the and of to that " * 14,
            "und das ist nicht mit " * 12,
            "答案是" * 90,
        ),
    ]
)
TEXTS = st.one_of(
    st.lists(FRAGMENTS, max_size=40).map("".join),
    st.lists(st.one_of(FRAGMENTS, st.characters(), st.text(max_size=6)), max_size=30).map("".join),
    st.tuples(st.text(max_size=20), st.text(min_size=1, max_size=90), st.integers(1, 20)).map(
        lambda t: t[0] + t[1] * t[2]
    ),
    st.text("0123456789+-*/=(). ,x\n", max_size=300),
    st.text('{}[],:"\\u01atruefls-.e \n', max_size=60).map('{"'.__add__),
)


@each
@given(text=TEXTS, seed=st.integers(0, 2**32))
@example(text="3 + 4 = 8. So \\ne 5\\n3+4=8\\n", seed=1)
@example(text='{\n "reasoning": "2+2=5.", "answer":\n "7"}', seed=0)
@settings(max_examples=120)
def test_chunking_does_not_matter(validator: Validator, text: str, seed: int) -> None:
    """However a text is cut, the evidence is that of one piece, and its scores fit the columns."""
    check_chunking(validator, text, seed=seed)


@each
def test_every_rule_keeps_the_contract(validator: Validator) -> None:
    check_validator(validator)


HOSTILE = [
    *[
        "(",
        "9",
        "=",
        "1+",
        "a",
        "\\boxed{",
        "\\",
        "\x00",
        "\ud800",
        "٣",
        "1=",
        "1,234",
        "2^",
        "-",
        "x ",
        "\\frac{",
    ],
    *[
        "answer is ",
        '"answer": "',
        "####",
        '{"',
        "\n",
        " ",
        "1+1=3\n",
        "1+1=3=",
        "9/7*",
        "ab" * 40,
        "((1+2)*",
        "≈",
        "[[",
        '[{"":',
        '{"a":[1,',
        '"\\\\',
        "\\u12",
        '["a",',
        "I cannot ",
        "? ",
        "é",
        "字",
        "_",
    ],
    *[
        "3 a ",
        ". ",
        "**",
        "[{(",
        "1 1/2 ",
        "and 1/2",
        "1/1=",
        "\\n",
        "\\\\",
        "...",
        "1.",
        "<<1+1=3>>",
        "%",
        "a=b ",
    ],
]


@pytest.mark.parametrize("unit", HOSTILE, ids=ascii)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """And no text takes 30 µs per character."""
    for validator in [*RULES, JsonText(place="whole"), JsonSchemaPrefix({}, place="whole")]:
        check_cost(validator, unit, seconds=30e-6 * LONG)


def test_memory_is_bounded() -> None:
    """A million characters of anything leave a state that is small."""
    noise = "".join(Random(0).choices("ab 1=+\n", k=LONG))  # noqa: S311 (not for secrets)
    for unit in ("(", "9", "=", "1+", "a", "\\boxed{", "\n", noise):
        for validator in RULES:
            check_memory(validator, unit)


@each
def test_a_spec_makes_the_validator_again(validator: Validator) -> None:
    """What a policy file stores is enough to make the same rule."""
    assert make_validator(describe(validator)) == validator


@pytest.mark.parametrize(
    ("cls", "parameters"),
    [
        (Arithmetic, {"strikes": 0}),
        (Arithmetic, {"reflective": -1}),
        (Repetition, {"characters": 10}),
        (Repetition, {"repeats": 1.0}),
        (Repetition, {"repeats": math.nan}),
        (Repetition, {"trivial": 0}),
        (Length, {"cap": 0}),
        (AnswerMarker, {"markers": ()}),
        (AnswerMarker, {"markers": ("box", "box")}),
        (AnswerMarker, {"answers": 1}),
        (Phrases, {"refusals": -1}),
        (Program, {"function": "for"}),
        (Program, {"function": "a b"}),
        (Program, {"function": ""}),
        (Program, {"function": "x" * 65}),
        (Logprobs, {"window": 0}),
    ],
)
def test_bad_parameters_are_refused(cls: type, parameters: dict[str, object]) -> None:
    with pytest.raises(InputError, match="="):
        cls(**parameters)


@pytest.mark.parametrize(
    ("cls", "parameters"),
    [
        (Regular, {"pattern": "(a"}),
        (Regular, {"pattern": "(?=a)b"}),
        (Grammar, {"lark": "start: missing"}),
        (JsonSchemaPrefix, {"schema": {"type": "string", "pattern": "(a"}}),
        (JsonSchemaPrefix, {"schema": {"$ref": "#/$defs/missing"}}),
        (JsonSchemaPrefix, {"schema": {"anyOf": []}}),
    ],
)
def test_languages_that_are_none_are_refused(cls: type, parameters: dict[str, object]) -> None:
    """At once and with the parameter named, not in the middle of a run."""
    with pytest.raises(InputError, match="parameter"):
        cls(**parameters)


def test_right_solutions_are_left_alone(shared: Path) -> None:
    """Of 7,473 human solutions, all right, all rules together call no more than 0.5 % dead."""
    rules = built_in_validators()
    n = dead = 0
    for trace in read_traces(shared / "control" / "gsm8k-human-solutions.jsonl.gz"):
        n += 1
        verdicts = [validator.start(trace.prompt).feed(trace.text + "\n").verdict for validator in rules]
        dead += Verdict.DEAD in verdicts
    assert n == 7473
    assert dead <= 0.005 * n


def test_the_default_rules_are_what_policies_were_fitted_with() -> None:
    names = [validator.name for validator in default_validators()]
    assert names == ["arithmetic", "repetition", "length", "answer", "numbers"]


def test_every_built_in_rule_is_known_by_its_name() -> None:
    assert {validator.name for validator in RULES} == set(validator_names())
    for validator in built_in_validators():
        assert default_validator(validator.name) == validator


def test_a_rule_that_needs_a_parameter_has_no_default() -> None:
    with pytest.raises(InputError, match="no default for weights"):
        default_validator("words")
    with pytest.raises(InputError, match="weights"):
        make_validator(ValidatorSpec("words", "1"))


def test_all_rules_are_those_that_need_not_be_told_what_is_asked_for() -> None:
    """What `all` stands for is what it was: others are named."""
    assert [validator.name for validator in built_in_validators()] == [
        "arithmetic", "repetition", "length", "answer", "numbers", "magnitude", "phrases", "language", "logprobs",
        "question", "json_text", "blocks_plan", "countdown", "brackets", "word_order",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["json_schema", "regular", "grammar", "program"])
def test_a_rule_that_nobody_tells_what_is_asked_for_is_silent(name: str) -> None:
    rule = default_validator(name)
    assert make_validator(describe(rule)) == rule
    evidence = rule.start("Tell me a story.").feed('{"a": ]\ndef other(')
    assert evidence.verdict is Verdict.UNKNOWN
    assert len(evidence.scores) == len(rule.columns)
    assert all(map(math.isnan, evidence.scores))


PLUG_IN = """
import msgspec
from msifr_policy.validators import NO_TOKENS, Evidence, Verdict

class Shouting(msgspec.Struct, frozen=True):
    name, version, columns = "shouting", "1", ("capitals",)
    most: int = 3
    def start(self, prompt): return State(self.most)

class State:
    def __init__(self, most): self.most, self.seen = most, 0
    def feed(self, text, tokens=NO_TOKENS):
        self.seen += sum(map(str.isupper, text))
        return Evidence(Verdict(self.seen > self.most), (float(self.seen),))
"""


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A function that installs a package with the given lines of entry points."""

    def install(points: str) -> None:
        (tmp_path / "shouting_rule.py").write_text(PLUG_IN)
        metadata = tmp_path / "shouting_rule-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting-rule\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[msifr_policy.validators]\n{points}\n")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        registry.plug_ins.cache_clear()

    monkeypatch.delitem(sys.modules, "shouting_rule", raising=False)
    yield install
    monkeypatch.undo()
    sys.modules.pop("shouting_rule", None)
    registry.plug_ins.cache_clear()


def test_a_plug_in_is_a_validator_like_any_other(plug_ins: Callable[[str], None]) -> None:
    """Found by its entry point, made from a spec, and held to the same contract."""
    plug_ins("shouting = shouting_rule:Shouting")
    assert "shouting" in validator_names()
    validator = make_validator(ValidatorSpec("shouting", "1", {"most": 2}))
    assert make_validator(describe(validator)) == validator
    assert validator.start("").feed("NO, no").verdict is Verdict.UNKNOWN
    assert validator.start("").feed("NO! NO!").verdict is Verdict.DEAD
    check_validator(validator, texts=["so 3+4=7. OK "])
    assert default_validator("shouting").columns == ("capitals",)
    assert "shouting" not in {rule.name for rule in (*default_validators(), *built_in_validators())}


@pytest.mark.parametrize(
    ("points", "name", "message"),
    [
        ("loud = shouting_rule:Shouting", "loud", "named 'shouting'"),
        ("shouting = shouting_rule:Missing", "shouting", "cannot be loaded"),
        ("shouting = no_such_module:Shouting", "shouting", "cannot be loaded"),
        ("shouting = shouting_rule:State", "shouting", "no class of msgspec.Struct"),
        ("length = shouting_rule:Shouting", "length", "two validators are named 'length'"),
    ],
)
def test_a_broken_plug_in_says_what_is_wrong(
    plug_ins: Callable[[str], None], points: str, name: str, message: str
) -> None:
    plug_ins(points)
    with pytest.raises(InputError, match=message):
        assert [*validator_names(), default_validator(name)]


def capitals_at_the_end(state: Any) -> float:
    return float(sum(map(str.isupper, state.text[-9:])))


def broken(**changes: Any) -> type[Any]:
    """A class of validators that count capitals, with some part of the contract broken."""

    class State:
        def __init__(self) -> None:
            self.text = ""
            self.pieces: list[str] = []

        def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
            del tokens
            self.text += text
            self.pieces.append(text)
            score = changes.get("score", capitals_at_the_end)
            verdict = changes.get("verdict", Verdict.UNKNOWN)
            return Evidence(verdict, (score(self) if callable(score) else score,) * changes.get("scores", 1))

    class Capitals(msgspec.Struct, frozen=changes.get("frozen", True)):
        name = changes.get("name", "capitals")
        version = changes.get("version", "1")
        columns = changes.get("columns", ("share",))
        most: Any = changes.get("most", 3)

        def start(self, prompt: str) -> State:
            del prompt
            return changes["shared"] if "shared" in changes else State()

    if "shared" in changes:
        changes["shared"] = State()
    return Capitals


class WithFields(msgspec.Struct, frozen=True):
    """A validator whose version could be set by a policy file."""

    name: str = "with_fields"
    version: str = "1"
    columns: tuple[str, ...] = ("one",)

    def start(self, prompt: str) -> ValidatorState:
        raise NotImplementedError


def slowly(state: Any) -> float:
    """Look at all of the text again."""
    return float(sum(map(str.isupper, state.text)) % 7)


@pytest.mark.parametrize(
    ("validator", "message"),
    [
        (object(), "object, declaration: it lacks one of name"),
        (Words, "Words, declaration: Missing required argument 'weights'"),
        (broken(frozen=False), "Capitals, declaration: it can be changed"),
        (WithFields, "columns, name, version can be set"),
        (broken(name="Capitals!"), "name is 'Capitals!'"),
        (broken(version=1), "version is 1"),
        (broken(columns="share"), "columns are 'share'"),
        (broken(columns=("a", "a")), "different names"),
        (broken(most=frozenset({1, 2})), r"a policy file makes .* of"),
        (broken(most=object()), "a policy file loses its parameters"),
        (broken(verdict=0), "scores: after the text '': feed returns .* not Evidence with a Verdict"),
        (broken(scores=2), r"are not one for each of \('share',\)"),
        (broken(score=math.inf), "scores: .* share is inf"),
        (broken(score="1"), "share is '1'"),
        (broken(score=1), "share is 1, not a finite float"),
        (
            broken(score=lambda state: float(len(state.text.encode()))),
            "scores: after the text .*udc?[0-9a-f]+.* raises",
        ),
        (broken(score=lambda state: float(sum("1+" in piece for piece in state.pieces))), "chunking: pieces"),
        (broken(score=lambda state: float(len(state.pieces))), "chunking: pieces"),
        (broken(shared=None, score=lambda state: float(len(state.text))), "Capitals, independence: text"),
        (broken(score=slowly), "cost: 20000 characters of"),
        (broken(score=math.nan), None),
        (broken(), None),
        (broken()(), None),
    ],
)
def test_what_breaks_the_contract_is_caught(validator: Any, message: str | None) -> None:
    """Each check fails once, and says what it found; what keeps the contract passes."""
    if message is None:
        check_validator(validator, prompts=[], texts=["", "NO"])
    else:
        with pytest.raises(AssertionError, match=message):
            check_validator(validator)


def test_a_state_that_keeps_the_text_is_caught() -> None:
    with pytest.raises(AssertionError, match="Capitals, memory: after 100000 characters"):
        check_memory(broken()(), "a", characters=100_000, most=50_000)


def test_checking_a_validator_needs_no_hypothesis() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; from msifr_policy.testing import check_validator"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
