"""Regular and context-free languages: dead as soon as nothing can be completed, and never before."""

from __future__ import annotations

import math
import re
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.validators import Grammar, Regular, Verdict
from msifr_policy.validators.readers.completion import LIMIT

PATTERNS = ["(a|b)*c", "a{2,3}(bc)?", "(ab|c)*", "a*b*c*", "[ab]?c+", "(a|ab)(c|bc)", "", "((a|b)(a|c))*"]


def matching(pattern: str, longest: int) -> set[str]:
    """Every text of a, b, c up to `longest` characters that matches, by Python's own engine."""
    texts = ("".join(letters) for n in range(longest + 1) for letters in product("abc", repeat=n))
    return {text for text in texts if re.fullmatch(pattern, text)}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_text_lives_if_and_only_if_it_begins_one_that_matches(pattern: str) -> None:
    """By enumeration; two more characters complete whatever begins a match of these patterns."""
    language = matching(pattern, 6)
    beginnings = {text[:i] for text in language for i in range(len(text) + 1)}
    rule = Regular(pattern)
    for text in ("".join(letters) for n in range(5) for letters in product("abc", repeat=n)):
        evidence = rule.start("").feed(text)
        assert evidence.verdict is (Verdict.ALIVE if text in beginnings else Verdict.DEAD), text
        assert evidence.scores[0] == (text in language), text


def test_the_first_impossible_character_is_found() -> None:
    state = Regular(r"(?s:.*)#### -?[0-9]+\n?").start("")
    assert state.feed("So it is 5.\n#### ").verdict is Verdict.ALIVE
    assert state.feed("72").scores == (1, 19, 0)
    assert state.feed("\n").scores == (1, 20, 0)
    assert Regular("[0-9]+(é|ö)x").start("").feed("12éy").scores == (0, 3, 1)
    assert Regular("a.c").start("").feed("a\ud800c").verdict is Verdict.ALIVE


SUMS = 'start: NUMBER | "(" start "+" start ")"\nNUMBER: /[0-9]+/'


@given(text=st.text("(+)12", max_size=8))
def test_a_grammar_agrees_with_a_parser_by_hand(text: str) -> None:
    """Sums in parentheses: what must come next is one bit and a stack."""
    open_, need, number = [], True, False  # what is open, is an operand due, does a number just end
    alive = True
    for character in text:
        if need:
            alive = character in "(12"
            if character == "(":
                open_.append("left")
            need, number = character == "(", character in "12"
        elif number and character in "12":
            pass
        elif open_ and open_[-1] == "left" and character == "+":
            open_[-1], need, number = "right", True, False
        elif open_ and open_[-1] == "right" and character == ")":
            open_.pop()
            number = False
        else:
            alive = False
        if not alive:
            break
    evidence = Grammar(SUMS).start("").feed(text)
    assert evidence.verdict is (Verdict.ALIVE if alive else Verdict.DEAD)
    assert evidence.scores[0] == (alive and not open_ and not need)


IGNORED = 'start: NAME "=" NUM\nNAME: /[a-z]+/\nNUM: /[0-9]+/\n%ignore /[ \\t\\n]+/\n'
STEMS = 'start: STEM SUFFIX\nSTEM: "rat" | "rates"\nSUFFIX: "ed"\n'
KEYWORDS = 'start: "if" NAME | NAME "!"\nNAME: /[a-z]+/\n%ignore " "\n'
COMMON = r"""
%import common.WS
%import common (CNAME, SIGNED_NUMBER)
%ignore WS
%ignore /#[^\n]*/   // to the end of the line
?start: pair+
!pair: CNAME "=" value -> pair
value: SIGNED_NUMBER
    | "true"i
    | list
list: "[" [value ("," value)*] "]"
"""
SPELLED = r"""
start: (LETTER | HEX | QUOTED)+
LETTER: "a".."c" "x"~2..3
HEX: /0x[0-9a-f]{1,2}(?:u|ul)?/i
QUOTED: /"([^"\\]|\\.)*"/
"""
READ_AS_LARK = {
    IGNORED: (["x=1", "x = 1\n", "\n x=1", " x\n=\t1  "], ["=", "x1", "x = y", "x = 1 2"]),
    STEMS: (["rated", "ratesed"], ["ratsed", "rateed", "ratedd"]),
    KEYWORDS: (["if x", "ifx", "if!", "ifx!", "if x "], ["!", "if 1", "a b"]),
    COMMON: (["x = 1", " a=-1.5e3 b = [1, TRUE]\n", "# of x\nx = [] # nothing"], ["1", "x = [1 2]", "x = tru3"]),
    SPELLED: (["axx", "cxxx", "0xFFul", '"a\\"b"', "axx0x1axx"], ["axa", "dxx", "0xg", "0x1ll"]),
    'start: A | B\nA.2: "a"\nB.-1: /[a-z]+/': (["a", "abc"], ["A", "a1"]),
    'start: A B\nA: /a+/\nB: "a"': (["aa", "aaa"], ["b", "aab"]),
    'start: A "ed"i\nA: /rat|rates/i': (["rated", "RATed", "RatesED"], ["ratsed", "RED"]),
    'start: A "b"\nA: /(?i:[a-c])[a-z]+/': (["Abb", "abb", "Cxb"], ["aB", "Db", "1"]),
    'start: A "d"\nA: /(?i)[a-d]+/': (["AbDd", "dd"], ["E", "AbCe"]),
    'start: A "d"\nA: /(?s:.{2}).*/': (["\n\nad", "abd"], ["\n\n\n", "abc\n"]),
    "start: A B\nA: /[ab]+/\nB: /b+c/": (["abc", "bbbc"], ["c", "abca"]),
    'start: A | B\nA: "é" /[à-ï]/\nB: /[^é]/': (["éé", "a", "字"], ["éa", "aé"]),
}


@pytest.mark.parametrize("lark", READ_AS_LARK)
def test_a_grammar_is_read_as_lark_reads_it(lark: str) -> None:
    """Terminals begin and end wherever that gives a parse, and what is ignored may be anywhere: the texts are those
    that Lark's Earley parser takes, by hand.
    """
    texts, others = READ_AS_LARK[lark]
    for text in texts:
        state = Grammar(lark).start("")
        for character in text:
            evidence = state.feed(character)
            assert evidence.verdict is Verdict.ALIVE, text
        assert evidence.scores[0] == 1, text
    for text in others:
        assert Grammar(lark).start("").feed(text).verdict is Verdict.DEAD, text


@pytest.mark.parametrize(
    "lark",
    [
        "start: word\nword[max_tokens=9]: /x+/",
        'start: word "!"\nword[capture]: /[a-z]+/',
        'start: "a" number\nnumber: %json {"type": "integer"}',
        "start: WORD\nWORD: /[a-z]+/ & /.{3}/",
        "start: /(?x)a b/",
    ],
)
def test_a_grammar_that_cannot_be_rewritten_makes_no_text_dead(lark: str) -> None:
    evidence = Grammar(lark).start("").feed("?")
    assert evidence.verdict is Verdict.UNKNOWN
    assert all(map(math.isnan, evidence.scores))


def test_an_ambiguous_grammar_gives_up_soon() -> None:
    """Cubic time is refused: nothing is known any more, and it took no time to say so."""
    start = time.process_time()
    state = Grammar('start: sum\nsum: sum "+" sum | sum "*" sum | /[0-9]/').start("")
    for _ in range(40):
        evidence = state.feed("1+" * 1000)
    assert evidence.verdict is Verdict.UNKNOWN
    assert all(math.isnan(score) for score in evidence.scores)
    assert time.process_time() - start < 5


def test_long_texts_are_left_alone() -> None:
    rule = Regular("a*b")
    assert rule.start("").feed("a" * LIMIT).scores == (0, LIMIT, 0)
    longer = rule.start("").feed("a" * LIMIT + "c")
    assert longer.verdict is Verdict.UNKNOWN
    assert all(math.isnan(score) for score in longer.scores)
    assert rule.start("").feed("a" * (LIMIT - 1) + "c").verdict is Verdict.DEAD
