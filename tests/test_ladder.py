"""The ladder compares evidence and nothing else: the same prompts certify on every rung, and all are judged once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

if not (Path(__file__).parents[1] / "benchmarks").exists():
    pytest.skip("the benchmarks are in the source tree only", allow_module_level=True)

from benchmarks._worlds import draw_table, draw_world
from benchmarks.ladder import area, fits_of, half_way, judge, summary_of, without_evidence
from msifr_calibration import Family
from msifr_calibration.split import folds
from msifr_policy.evidence.table import EvidenceTable


@pytest.fixture(scope="module")
def table() -> EvidenceTable:
    world = draw_world(np.random.default_rng(1))
    return draw_table(world, np.full(400, 2), np.random.default_rng(2), correlation=0.5)


def test_the_same_prompts_fit_and_certify_whatever_the_evidence(table):
    fits = fits_of(Family("", table), "")
    rules = fits["rules"](table)
    for rung, evidence in (
        ("text", replace(table, values=table.values + 1.0)),
        ("length cap", without_evidence(table)),
    ):
        fit = fits[rung](evidence)
        assert fit.certifying.attempt_ids == rules.certifying.attempt_ids
        assert fit.candidates.family.table.attempt_ids == rules.candidates.family.table.attempt_ids


def test_every_attempt_is_judged_by_a_policy_that_never_saw_its_prompt(table):
    part = folds(table.prompt_ids, 4, 0)[table.prompt]
    seen_by_fits: list[set[str]] = []

    def fit_to(rest: EvidenceTable):
        seen_by_fits.append(set(rest.prompt_ids))
        return fits_of(Family("", table), "")["rules"](rest)

    seen, cases = judge(table, part, fit_to, Family("", table))
    for number, known in enumerate(seen_by_fits):
        judged = {table.prompt_ids[p] for p in table.prompt[part == number]}
        assert judged
        assert not known & judged
        assert not set(cases[number].table.prompt_ids) & judged
    assert set().union(*seen_by_fits) == set(table.prompt_ids)
    # Rows are those of the attempt itself, and a certified policy is one of its path.
    stopped = np.flatnonzero(seen.stop >= 0)
    assert len(stopped)
    assert np.array_equal(table.attempt[seen.stop[stopped]], stopped)
    assert (seen.M > 0).all()
    never = [table.cost.sum(), table.cost.sum(), table.n_accepted, 0]
    assert seen.path[0] == pytest.approx(never)


def test_a_length_cap_discards_by_length_alone(table):
    part = folds(table.prompt_ids, 4, 0)[table.prompt]
    seen, _ = judge(table, part, fits_of(Family("", table), "")["length cap"], Family("", table))
    assert (seen.stop >= 0).any()
    for number in range(4):
        stop = seen.stop[(part == number) & (seen.stop >= 0)]
        assert len(np.unique(table.k[stop])) <= 1


def test_the_area_counts_pairs_inside_groups_only(table):
    """By every pair, one by one; what is the same for all attempts at a prompt ranks none of its pairs."""
    rng = np.random.default_rng(3)
    M = rng.random(len(table.k)).round(1)  # with ties
    rows = np.flatnonzero(table.is_checkpoint & (table.k == half_way(table)))
    at, A = table.attempt[rows], table.outcome[rows]
    for group in (np.zeros(table.n_attempts, dtype=np.int64), table.prompt):
        pairs = [
            (M[i] > M[j]) + (M[i] == M[j]) / 2
            for i, a, good in zip(rows, at, A, strict=True)
            for j, b, bad in zip(rows, at, ~A, strict=True)
            if good and bad and group[a] == group[b]
        ]
        assert area(table, M, rows, group) == pytest.approx(np.mean(pairs))
    assert area(table, rng.random(table.n_prompts)[table.prompt][table.attempt], rows, table.prompt) == 0.5
    assert np.isnan(area(table, M, rows[A], table.prompt))


def test_half_way_is_a_place_that_does_not_hang_on_how_an_attempt_ends(table):
    k = half_way(table)
    median = np.median(table.position[table.end])
    typical = np.median(table.position[table.is_checkpoint & (table.k == k)])
    assert abs(typical / median - 0.5) < 0.1


def test_a_summary_of_rows_is_that_of_a_replay(table):
    from msifr_sim import replay_policy, summarise

    fit = fits_of(Family("", table), "")["rules"](table)
    policy = fit.file.policy()
    outcomes = replay_policy(policy, fit.certifying)
    ours = summary_of(fit.certifying, policy.stops(fit.certifying), np.zeros(fit.certifying.n_attempts))
    theirs = summarise(outcomes, draws=10)
    for name in ("net_cost_factor", "false_reject_rate", "saving_rate", "by_checkpoint", "by_difficulty"):
        assert getattr(ours, name) == getattr(theirs, name)
