"""Surprisal of tokens, against the definitions and however the tokens arrive."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.watch import Watch
from msifr_policy.validators import Evidence, Logprobs, Tokens, Verdict
from msifr_policy.validators.logprobs import MOST

LOGPROBS = st.lists(st.floats(-20, 0), max_size=60)


def fed(rule: Logprobs, logprobs: list[float], size: int = 10**6) -> Evidence:
    state = rule.start("")
    evidence = state.feed("")
    for i in range(0, len(logprobs), size):
        piece = tuple(logprobs[i : i + size])
        evidence = state.feed("x" * i, Tokens(len(piece), piece))
    return evidence


@given(logprobs=LOGPROBS.filter(bool), window=st.integers(1, 9))
def test_scores_follow_their_definitions(logprobs: list[float], window: int) -> None:
    x = -np.array(logprobs)
    groups = [x[i : i + window].mean() for i in range(len(x) - window + 1)]
    expected = (x.mean(), x[-window:].mean(), max(groups, default=math.nan), x.max())
    evidence = fed(Logprobs(window), logprobs)
    assert evidence.verdict is Verdict.UNKNOWN
    assert evidence.scores == pytest.approx(expected, abs=1e-6, nan_ok=True)


@given(logprobs=LOGPROBS, size=st.integers(1, 20), window=st.integers(1, 9))
def test_chunking_does_not_matter(logprobs: list[float], size: int, window: int) -> None:
    """To the last bit."""
    assert repr(fed(Logprobs(window), logprobs, size)) == repr(fed(Logprobs(window), logprobs))


def test_odd_values_are_bounded() -> None:
    assert fed(Logprobs(), [-math.inf]).scores[0] == MOST
    assert fed(Logprobs(), [0.5, -0.0]).scores[0] == 0
    assert fed(Logprobs(), [math.nan, -1.0, math.nan]) == fed(Logprobs(), [-1.0])


def test_without_logprobs_nothing_is_known() -> None:
    for evidence in (Logprobs().start("").feed("text"), Logprobs().start("").feed("text", Tokens(3))):
        assert all(math.isnan(score) for score in evidence.scores)


def test_a_watch_hands_them_over() -> None:
    watch = Watch(EveryUnits(2, "tokens"), (Logprobs(window=2),))
    checkpoints = [
        checkpoint
        for logprob in (-1.0, -2.0, -3.0, -4.0)
        for checkpoint in watch.feed("a", tokens=1, logprobs=[logprob])
    ]
    assert [checkpoint.row[1] for checkpoint in checkpoints] == [1.5, 3.5]
