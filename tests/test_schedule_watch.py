"""Checkpoints depend on the text and its token boundaries alone, and validators fail open."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import EveryUnits, Geometric, NewlineSteps, Schedule
from msifr_policy.evidence.watch import Watch, column_names
from msifr_policy.validators import NO_TOKENS, Evidence, Length, Verdict, default_validators

CHARACTER_SCHEDULES = st.one_of(
    st.builds(EveryUnits, st.integers(1, 9), st.just("characters"), st.integers(0, 9), st.integers(1, 20)),
    st.builds(Geometric, st.integers(1, 9), st.floats(1.01, 3), st.just("characters"), st.integers(1, 20)),
    st.builds(NewlineSteps, st.integers(1, 5), st.integers(1, 20)),
)
TEXT = st.text("ab\n1+=2 ", max_size=60)


def positions(schedule, pieces):
    watch = Watch(schedule, default_validators())
    return [(c.k, c.position, c.row) for piece in pieces for c in watch.feed(piece)], watch.finish().row


@given(CHARACTER_SCHEDULES, TEXT, st.data())
def test_cutting_the_text_does_not_move_checkpoints_or_evidence(schedule, text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole, whole_end = positions(schedule, [text])
    parts, parts_end = positions(schedule, pieces)
    assert repr(whole) == repr(parts)  # repr: NaN equals NaN
    assert repr(whole_end) == repr(parts_end)


@given(CHARACTER_SCHEDULES, TEXT, TEXT)
def test_checkpoints_use_only_what_has_been_generated(schedule, text, more):
    before, _ = positions(schedule, [text])
    after, _ = positions(schedule, [text + more])
    assert repr(after[: len(before)]) == repr(before)
    assert all(position > len(text) for _, position, _ in after[len(before) :])


def test_known_checkpoints():
    assert list(EveryUnits(10, "tokens", first=3, max_checkpoints=3).boundaries()) == [3, 13, 23]
    assert list(Geometric(4, 1.5, "tokens", max_checkpoints=5).boundaries()) == [4, 6, 9, 14, 21]
    assert list(Geometric(1, 1.01, "tokens", max_checkpoints=4).boundaries()) == [1, 2, 3, 4]
    found, _ = positions(NewlineSteps(3), ["ab\n\ncde\nf\n"])
    assert [p for _, p, _ in found] == [4, 8]  # "ab\n\n" ends the first step of at least three characters


def test_token_checkpoints_count_tokens_whatever_text_they_add():
    watch = Watch(EveryUnits(2, "tokens"), [Length()])
    seen = [watch.feed(text, 1) for text in ["a", "", "", "bcd"]]
    assert [[(c.k, c.position, c.tokens) for c in cs] for cs in seen] == [[], [(1, 1, 2)], [], [(2, 4, 4)]]


def test_a_piece_that_hides_a_token_boundary_is_refused():
    with pytest.raises(InputError, match="token by token"):
        Watch(EveryUnits(2, "tokens"), [Length()]).feed("abc", 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: EveryUnits(0, "tokens"),
        lambda: EveryUnits(1, "tokens", first=-1),
        lambda: Geometric(1, 1.0, "tokens"),
        lambda: Geometric(1, math.nan, "tokens"),
        lambda: NewlineSteps(0),
        lambda: NewlineSteps(max_checkpoints=0),
    ],
)
def test_impossible_schedules_are_refused(make):
    with pytest.raises(InputError, match="schedule"):
        make()


@given(CHARACTER_SCHEDULES)
def test_schedules_survive_json(schedule):
    assert msgspec.json.decode(msgspec.json.encode(schedule), type=Schedule) == schedule


class Breaks(msgspec.Struct, frozen=True):
    """A validator that raises once it has seen `after` characters, or gives a wrong number of scores."""

    after: int
    wrong_width: bool = False
    name: str = "breaks"
    version: str = "1"
    columns: tuple[str, ...] = ("seen",)

    def start(self, prompt):
        del prompt
        if self.after < 0:
            raise RuntimeError("at start")
        return BreaksState(self)


class BreaksState:
    def __init__(self, rule):
        self.rule, self.seen = rule, 0

    def feed(self, text, tokens=NO_TOKENS):
        del tokens
        self.seen += len(text)
        if self.seen > self.rule.after:
            if self.rule.wrong_width:
                return Evidence(Verdict.DEAD, (1.0, 2.0))
            raise ZeroDivisionError
        return Evidence(Verdict.ALIVE, (float(self.seen),))

    def copy(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("rule", "failure", "known"),
    [
        (Breaks(5), "breaks: ZeroDivisionError", [2.0, 4.0]),
        (Breaks(5, wrong_width=True), "breaks: ValueError", [2.0, 4.0]),
        (Breaks(-1), "breaks: RuntimeError", []),
    ],
)
def test_a_validator_that_fails_is_unknown_from_then_on_and_counted(rule, failure, known):
    watch = Watch(EveryUnits(2, "characters"), [Length(), rule])
    seen = watch.feed("abcdefgh")
    values = [c.row[3] for c in seen]
    assert values[: len(known)] == known
    assert all(math.isnan(v) for v in values[len(known) :])
    assert all(c.verdicts[1] is Verdict.UNKNOWN for c in seen[len(known) :])
    assert watch.failures == {failure: 1}
    assert [c.row[0] for c in seen] == [2.0, 4.0, 6.0, 8.0]  # the other validator goes on


def test_validators_of_one_name_are_refused():
    with pytest.raises(InputError, match="'length' is listed 2 times"):
        column_names([Length(), Length(cap=3)])
