"""Log-odds by a model's states: the formula, token by token, however texts are cut, and at checkpoints."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from makers import some_probe
from msifr_integrations.report.deciding import Recorded
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import Piece, build_evidence, pieces
from msifr_policy.evidence.schedule import EveryUnits, NewlineSteps, Schedule
from msifr_policy.evidence.watch import Watch
from msifr_policy.records.traces import Trace, read_traces, write_traces
from msifr_policy.validators import Hidden, Tokens, Verdict
from msifr_policy.weights import remember, to_bytes

PIECES = st.lists(st.sampled_from(["a", "bc", "\n", "d\n", "\n\ne", "f\ng", ""]), min_size=1, max_size=30)


def numbers(n: int) -> list[tuple[float, float, float]]:
    return [tuple(row) for row in np.random.default_rng(n).normal(size=(n, 3)).tolist()]


def odds(parts: list[str], states: list[tuple[float, float, float]]) -> float:
    """The formula of the module, by hand: the last, the mean of the step, the first."""
    step: list[float] = []
    over = True
    for piece, state in zip(parts, states, strict=True):
        step = [state[1]] if over else [*step, state[1]]
        over = "\n" in piece
    return states[-1][0] + float(np.mean(step)) + states[0][2]


def trace_of(parts: list[str]) -> Trace:
    ends = np.cumsum([len(part) for part in parts]).tolist()
    states = numbers(len(parts))
    text = "".join(parts)
    return Trace(id="a", prompt_id="p", text=text, token_ends=ends, states=states, accepted=True)


def fed(trace: Trace, schedule: Schedule) -> list[Piece]:
    return list(pieces(trace, getattr(schedule, "unit", "characters"), trace.token_ends))


@given(parts=PIECES)
def test_odds_are_those_of_the_last_token_the_step_and_the_first(parts: list[str]) -> None:
    states = numbers(len(parts))
    text, ends = "".join(parts), np.cumsum([len(part) for part in parts]).tolist()
    evidence = some_probe().start("").feed(text, Tokens(len(parts), (), tuple(states), tuple(pairwise([0, *ends]))))
    assert evidence.verdict is Verdict.UNKNOWN
    assert evidence.scores == (pytest.approx(odds(parts, states)),)


@example(parts=["bc", "d\n", "a"], schedule=EveryUnits(3, "characters"))  # a checkpoint before the newline of a token
@given(parts=PIECES, schedule=st.sampled_from([NewlineSteps(), EveryUnits(3, "characters"), EveryUnits(2, "tokens")]))
def test_a_checkpoint_has_the_odds_of_the_tokens_paid_for_until_there(parts: list[str], schedule: Schedule) -> None:
    trace = trace_of(parts)
    assert trace.states is not None
    if not trace.text:
        return
    watch = Watch(schedule, (some_probe(),))
    assert math.isnan(watch.begin().row[0])  # before the first token
    reached = [c for piece in fed(trace, schedule) for c in watch.feed(*piece)]
    for checkpoint in [*reached, watch.finish()]:
        if n := checkpoint.tokens:
            assert checkpoint.row[0] == pytest.approx(odds(parts[:n], trace.states[:n]))
    table = build_evidence([trace], schedule, (some_probe(),))
    assert table.values[1:-1, 0].tolist() == [checkpoint.row[0] for checkpoint in reached]


def test_a_report_hears_the_tokens_as_the_run_did() -> None:
    trace = trace_of(["a", "b\n", "c", "d\n\n", "e"])
    recorded = Recorded(trace.token_ends or (), (), trace.states or ())
    at_once, state = (
        some_probe().start("").feed(trace.text, recorded.between(0, len(trace.text))),
        some_probe().start(""),
    )
    for start, end in ((0, 3), (3, 6), (6, len(trace.text))):
        bit_by_bit = state.feed(trace.text[start:end], recorded.between(start, end))
    assert bit_by_bit == at_once
    assert at_once.scores == (pytest.approx(odds(["a", "b\n", "c", "d\n\n", "e"], trace.states or [])),)


def test_nothing_is_known_without_states_or_without_weights() -> None:
    told = Tokens(1, (), ((1.0, 2.0, 3.0),), ((0, 1),))
    for state, tokens in ((some_probe().start(""), Tokens(3)), (Hidden().start(""), told)):
        assert math.isnan(state.feed("a\n", tokens).scores[0])
    assert some_probe().start("").feed("a", told).scores == (6.0,)


def test_weights_that_are_not_known_or_no_probe_are_refused() -> None:
    with pytest.raises(InputError, match="not known"):
        Hidden("0" * 64).start("")
    other = remember(to_bytes({"hidden.weights": np.zeros((4, 2), np.float32), "hidden.bias": np.zeros(3, np.float32)}))
    with pytest.raises(InputError, match=r"shape \(4, 2\)"):
        Hidden(other).start("")


def test_traces_carry_states_in_every_format(tmp_path) -> None:
    trace = trace_of(["a", "b\n", "c", ""])
    for name in ("traces.jsonl", "traces.parquet"):
        write_traces(tmp_path / name, [trace])
        (again,) = read_traces(tmp_path / name)
        assert again == trace
    with pytest.raises(ValueError, match="`states` has 1 entries for 4 `tokens`"):
        Trace(id="a", prompt_id="p", text="", tokens=4, states=[(1.0, 2.0, 3.0)], accepted=True)
