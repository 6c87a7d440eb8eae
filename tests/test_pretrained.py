"""Pretrained beliefs: the weights that come with the package, and fitting them to a family of few samples."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

import msifr_policy
from makers import make_traces
from msifr_calibration import Family, NetworkOptions, fit_policy
from msifr_calibration.beliefs.checkpoint_groups import prompt_folds
from msifr_calibration.beliefs.fitted import log_loss
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.beliefs.pretrained import (
    PRETRAINED,
    Reads,
    fit_pretrained_beliefs,
    learn_pretrained,
    pretrained_supports,
    shipped_weights,
    table_with_pretrained_words,
)
from msifr_policy import EveryUnits, Geometric, InputError, NewlineSteps, build_evidence, default_validators
from msifr_policy.beliefs.network import Network
from msifr_policy.evidence.schedule import auto_schedule
from msifr_policy.evidence.watch import Watch, column_names
from msifr_policy.validators import Length, describe, make_validator
from msifr_policy.weights import recall, remember, to_bytes

FAST = NetworkOptions(hidden=16, epochs=3, device="cpu", nameless=0.5, unseen=0.1)
SCHEDULE = Geometric(5, 1.25, "characters")


def family(n: int, seed: int, **options: float):
    traces = asked(make_traces(n, seed=seed, **options))
    return build_evidence(traces, SCHEDULE, default_validators()), traces


def asked(traces):
    """The attempts with a prompt of its own for each question: the text of a prompt says which weights read it."""
    return [msgspec.structs.replace(t, prompt=f"How many of {t.prompt_id}?") for t in traces]


@pytest.fixture(scope="module")
def elsewhere() -> bytes:
    """Weights learned on two made-up families."""
    return learn_pretrained(two_families(), options=FAST)


def two_families():
    return [Family(str(seed), *family(150, seed)) for seed in (11, 12)]


def fitted(table, traces, weights=None, **options):
    return fit_pretrained_beliefs(table, traces, weights=weights, **options)


def test_the_card_names_the_file_and_what_it_reads():
    card = json.loads(PRETRAINED.with_name("card.json").read_bytes())
    raw = PRETRAINED.read_bytes()
    assert card["sha256"] == hashlib.sha256(raw).hexdigest() == shipped_weights()
    assert len(raw) <= 2 * 2**20
    reads = msgspec.json.decode(recall(shipped_weights())["reads"].tobytes(), type=Reads)
    assert reads.columns == (*column_names(default_validators()), "words.text", "words.prompt")
    assert list(reads.validators) == [describe(v) for v in default_validators()]
    assert card["columns"] == list(reads.columns)
    assert {f["licence"] for f in card["families"]} <= {"MIT", "Apache-2.0"}


def test_the_weights_lie_inside_the_package_that_is_built():
    # The wheel holds whole folders of packages, but for what git ignores.
    package = Path(msifr_policy.__file__).parent
    assert {p.name for p in PRETRAINED.parent.iterdir()} == {"beliefs.safetensors", "card.json"}
    assert PRETRAINED.is_relative_to(package)


def test_they_are_fitted_without_torch():
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "class NoTorch:\n"
        "    def find_spec(name, path, target=None):\n"
        "        if name.partition('.')[0] == 'torch': raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoTorch)\n"
        "from makers import make_table, make_traces\n"
        "from msifr_calibration.beliefs.pretrained import fit_pretrained_beliefs\n"
        "for own in (False, True):\n"
        "    fit = fit_pretrained_beliefs(make_table(40, seed=1), make_traces(40, seed=1), own=own)\n"
        "    print(fit.beliefs.method, 0 < fit.log_loss < 1)\n"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)  # noqa: S603
    assert done.stdout.split() == ["pretrained", "True"] * 2, done.stderr


@pytest.mark.parametrize("own", [False, True])
def test_fits_are_functions_of_data_and_seed(elsewhere, own):
    table, traces = family(40, 1)
    one, two = (fitted(table, traces, elsewhere, own=own) for _ in range(2))
    assert one.beliefs == two.beliefs
    assert np.array_equal(one.M, two.M)
    assert np.array_equal(one.r, two.r)


def test_learning_is_a_function_of_its_seed(elsewhere):
    assert learn_pretrained(two_families(), options=FAST) == elsewhere
    assert learn_pretrained(two_families(), options=FAST, seed=1) != elsewhere


def test_where_the_network_is_right_thirty_attempts_are_enough(elsewhere):
    """Outcomes are drawn from the network's own probabilities, which a fit to few attempts must hardly touch."""
    arrays = dict(recall(remember(elsewhere)))
    arrays["beliefs.out"] = arrays["beliefs.out"] * np.asarray([4, 1], dtype=np.float32)  # sure of itself
    traces = make_traces(30, seed=20)
    table = build_evidence(traces, EveryUnits(120, "characters", max_checkpoints=1), default_validators())
    table = table_with_pretrained_words(table, traces, elsewhere)
    # Checkpoint 1, which knows all there is, and the end: without checkpoint 0.
    by_row = ("values", "verdicts", "k", "spent", "position")
    later = {name: getattr(table, name)[table.k > 0] for name in by_row}
    table = replace(table, start=table.start - np.arange(table.n_attempts + 1), **later)
    eta = Network(remember(to_bytes(arrays))).predict(table.k, table.values)[:, 0]
    arrays["beliefs.out_bias"] = arrays["beliefs.out_bias"] - np.asarray([eta.mean(), 0], dtype=np.float32)
    sharp = to_bytes(arrays)
    truth = expit(eta - eta.mean())
    rows = table.is_checkpoint
    rng = np.random.default_rng(0)
    loss = {"pretrained": 0.0, "own": 0.0, "truth": 0.0}
    for _ in range(30):
        drawn = replace(table, accepted=rng.random(table.n_attempts) < truth[table.start[:-1]])
        loss["pretrained"] += fitted(drawn, (), sharp).log_loss / 30
        loss["own"] += fit_linear_beliefs(drawn).log_loss / 30
        loss["truth"] += log_loss(truth[rows], drawn.outcome[rows]) / 30
    assert loss["truth"] < 0.65  # there is something to know
    assert loss["pretrained"] - loss["truth"] < 0.75 * (loss["own"] - loss["truth"])


@pytest.mark.parametrize("own", [False, True])
def test_no_outcome_leaks_through_cross_fitting(elsewhere, own):
    """Outcomes drawn anew are independent of all evidence: no estimate may know them.

    Within a fold, for across folds offsets are fitted to the others, and those have fewer accepted where it has more.
    An area under the curve of n₁ + n₀ independent attempts has variance (n₁ + n₀ + 1)/(12·n₁·n₀) then, 0.093² for the
    40 of a fold; the mean of 100 is within five standard deviations, 0.047, but for 6 in 10⁷ runs.
    """
    table, traces = family(200, 7)
    table = table_with_pretrained_words(table, traces, elsewhere)
    if own:
        # A network that says nothing: the regression alone orders the attempts.
        arrays = dict(recall(remember(elsewhere)))
        elsewhere = to_bytes({**arrays, "beliefs.out": arrays["beliefs.out"] * np.asarray([0, 1], dtype=np.float32)})
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(20):
        shuffled = replace(table, accepted=rng.permutation(table.accepted))
        fit = fitted(shuffled, (), elsewhere, own=own)
        fold = prompt_folds(table, 0)[table.attempt]
        for held in range(5):
            rows = (table.k == 14) & (fold == held)
            areas.append(roc_auc_score(shuffled.outcome[rows], fit.M[rows]))
    assert abs(np.mean(areas) - 0.5) < 0.047


def test_live_evidence_and_beliefs_are_those_of_the_table(elsewhere):
    table, traces = family(40, 3)
    fit, by_id = fitted(table, traces, elsewhere, own=True), {trace.id: trace for trace in traces}
    validators = [make_validator(spec) for spec in fit.validators]
    assert column_names(validators) == fit.beliefs.columns
    assert fit.words.weights == fit.beliefs.weights  # one file beside the policy
    M, worth = fit.beliefs.worth(fit.table.k, fit.table.values)
    for i in range(0, table.n_attempts, 9):
        trace = by_id[table.attempt_ids[i]]
        watch = Watch(table.schedule, validators, trace.prompt)
        live = [watch.begin(), *(checkpoint for letter in trace.text for checkpoint in watch.feed(letter))]
        rows = np.arange(table.start[i], table.start[i + 1] - 1)
        values = np.asarray([checkpoint.row for checkpoint in live]).reshape(len(rows), -1)
        assert np.array_equal(values, fit.table.values[rows], equal_nan=True)
        alone = [fit.beliefs.worth(table.k[r : r + 1], values[j : j + 1]) for j, r in enumerate(rows)]
        assert [m[0] for m, _ in alone] == M[rows].tolist()
        assert [w[0] for _, w in alone] == worth[rows].tolist()


def test_without_attempts_of_both_outcomes_the_network_stays_as_it_is(elsewhere):
    table, traces = family(30, 5, accept=1.1)
    assert table.accepted.all()
    fit = fitted(table, traces, elsewhere)
    assert fit.beliefs.blend.a == 1
    assert np.isfinite(fit.M).all()
    assert np.isfinite(fit.r).all()
    # Thirty successes in a row move the offset up, and the prior holds it.
    assert 0 < fit.beliefs.posterior_model.groups[0].intercept < 10
    assert fitted(table, traces, elsewhere, own=True).beliefs.blend.a == 1


@pytest.mark.parametrize("own", [False, True])
def test_tables_at_the_edge_of_what_there_is(elsewhere, own):
    without_checkpoints = build_evidence(make_traces(5), EveryUnits(10**6, "characters"), default_validators())
    one_prompt, traces = family(1, 2, attempts=6)
    characters = build_evidence(make_traces(20), SCHEDULE, default_validators(), unit="characters")
    for table, texts in ((without_checkpoints, make_traces(5)), (one_prompt, traces), (characters, make_traces(20))):
        fit = fitted(table, texts, elsewhere, own=own)
        assert len(fit.M) == len(fit.r) == len(table.k)
        assert ((fit.M >= 0) & (fit.M <= 1)).all()
        assert (fit.r >= 1).all()
        M, r = fit.beliefs.predict(fit.table.k, fit.table.values)
        assert np.isfinite(M).all()
        assert np.isfinite(r).all()


def test_costs_in_another_unit_are_costs_to_go_times_as_much(elsewhere):
    table, traces = family(60, 6)
    dear = replace(table, spent=table.spent * 50)
    cheap, expensive = (fitted(t, traces, elsewhere) for t in (table, dear))
    # The prior draws d to 0 by 1 part in 1 + 9·60·4/5, and log(1 + r) is not quite log r.
    assert np.median(expensive.r / cheap.r) == pytest.approx(50, rel=0.05)
    both = [fit.beliefs.predict(fit.table.k, fit.table.values)[1] for fit in (expensive, cheap)]
    assert np.median(both[0] / both[1]) == pytest.approx(50, rel=0.05)


def test_columns_in_another_order_and_of_other_validators_change_nothing(elsewhere):
    table, traces = family(40, 8)
    table = table_with_pretrained_words(table, traces, elsewhere)
    plain = fitted(table, (), elsewhere)
    order = np.random.default_rng(0).permutation(len(table.columns))
    moved = replace(table, columns=tuple(table.columns[i] for i in order), values=table.values[:, order])
    noise = np.random.default_rng(1).normal(size=(len(table.k), 1))
    np.testing.assert_allclose(fitted(moved.with_scores(("noise.x",), noise), (), elsewhere).M, plain.M, atol=1e-6)


def test_a_validator_that_is_missing_is_unknown_evidence(elsewhere):
    table, traces = family(40, 9)
    table = table_with_pretrained_words(table, traces, elsewhere)
    keep = [i for i, column in enumerate(table.columns) if not column.startswith("numbers.")]
    less = replace(
        table,
        columns=tuple(table.columns[i] for i in keep),
        values=table.values[:, keep],
        validators=tuple(v for v in table.validators if v.name != "numbers"),
    )
    assert pretrained_supports(less, elsewhere) == ""
    hidden = table.values.copy()
    hidden[:, [i for i in range(len(table.columns)) if i not in keep]] = np.nan
    a, b = fitted(less, (), elsewhere), fitted(replace(table, values=hidden), (), elsewhere)
    np.testing.assert_allclose(a.M, b.M, atol=1e-6)


def test_what_does_not_fit_is_said(elsewhere):
    table, traces = family(20, 4)
    assert pretrained_supports(table, elsewhere) == ""
    assert "not here" in pretrained_supports(build_evidence(traces, SCHEDULE, (Length(),)), elsewhere)
    spec = table.validators[0]
    other = replace(table, validators=(msgspec.structs.replace(spec, version="0"), *table.validators[1:]))
    assert f"version or parameters of {spec.name}" in pretrained_supports(other, elsewhere)
    with pytest.raises(InputError, match="do not fit"):
        fitted(other, traces, elsewhere)
    with pytest.raises(InputError, match="no trace"):
        fitted(table, traces[1:], elsewhere)
    with pytest.raises(InputError, match="not pretrained weights"):
        pretrained_supports(table, remember(without_card(elsewhere)))


def without_card(raw: bytes) -> bytes:
    return to_bytes({name: a for name, a in recall(remember(raw)).items() if name != "reads"})


def test_another_schedule_takes_the_offsets_of_the_same_lengths(elsewhere):
    """Checkpoints twice as dense have, where both are, the offsets of the automatic schedule."""
    arrays = dict(recall(remember(elsewhere)))
    loud = to_bytes({**arrays, "beliefs.checkpoint": arrays["beliefs.checkpoint"] * 10})
    traces = make_traces(60, seed=2)
    lengths = [len(trace.text) for trace in traces]
    first = int(np.median(lengths)) // 40
    automatic = build_evidence(traces, Geometric(first, 1.25, "characters"), default_validators())
    finer = build_evidence(traces, Geometric(first, 1.25**0.5, "characters"), default_validators())
    fits = [fitted(t, traces, loud) for t in (automatic, finer)]
    at = [Network(f.beliefs.weights).predict(f.table.k, f.table.values)[:, 0] for f in fits]
    by_position = {(int(a), int(p)): eta for a, p, eta in zip(finer.attempt, finer.position, at[1], strict=True)}
    pairs = [
        (eta, by_position[int(a), int(p)])
        for a, p, k, eta in zip(automatic.attempt, automatic.position, automatic.k, at[0], strict=True)
        if (int(a), int(p)) in by_position and k >= 8
    ]
    assert len(pairs) > 100
    assert np.abs(np.diff(np.asarray(pairs), axis=1)).max() < 0.4  # of 0.6 by number
    for schedule in (NewlineSteps(), EveryUnits(20, "tokens")):
        fit = fitted(build_evidence(traces, schedule, default_validators()), traces, elsewhere)
        assert fit.log_loss < fit.base_loss + 0.02


def test_prompts_that_were_learned_from_fit_and_certify(elsewhere):
    """The weights were learned from each of these prompts, and what is said of it is by words that were not."""
    traces = asked(make_traces(150, seed=3))
    table = build_evidence(traces, auto_schedule([len(t.text) for t in traces]), default_validators())
    for method in ("auto", "pretrained"):
        fit = fit_policy(table, traces=traces, pretrained=remember(elsewhere), method=method)
        assert "pretrained" in fit.candidates.tried
        assert fit.certifying.n_prompts + fit.candidates.family.table.n_prompts == 150


def test_families_share_one_file_of_weights(elsewhere):
    """A fit keeps what it finds in the policy: many fits take the memory of one."""
    fits = [fitted(*family(40, seed), elsewhere, own=own) for seed, own in ((1, False), (2, False), (2, True))]
    assert len({fit.beliefs.weights for fit in fits}) == 1
