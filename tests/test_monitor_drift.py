"""What a run is held against: the reference of a policy file, bins in the ledger, and what has drifted."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.stats import binom

from makers import make_table, make_traces
from msifr_calibration import fit_policy
from msifr_calibration.certify import key_of
from msifr_calibration.held_out import one_each
from msifr_calibration.monitor.drift import ACCEPTANCE, REACHED, DriftTest
from msifr_calibration.monitor.monitor import Monitor
from msifr_calibration.reference import _tenths, reference_of
from msifr_policy.audit import Audit, Audited
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.policy import Action
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import Entry
from msifr_policy.reference import Reference
from msifr_policy.validators import History

COLUMNS = ("a.one", "a.two")
LEVEL = 0.1
RUNS = 100
# At most LEVEL of the runs may name anything falsely. A test that keeps that breaks this bound with probability < 1e-6;
# one that errs in 40 % is let pass with probability 0.005.
ALLOWED = int(binom.isf(1e-6, RUNS, LEVEL))


@pytest.fixture(scope="module")
def fitted():
    return fit_policy(make_table(400, attempts=2, seed=1), max_false_reject=0.1, seed=2)


def reference(n=600, reached=0.6, accepted=0.5, n_bins=10):
    """Two columns with bins of equal shares, of which the second is not known for a third of the attempts."""
    here = int(n * reached)
    known = [here // n_bins] * n_bins
    counts = [[*known, 0], [*(count * 2 // 3 for count in known), here // 3]]
    edges = [list(map(float, range(1, n_bins)))] * 2
    return Reference(
        checkpoint=2, n_prompts=n, reached=here, accepted=int(n * accepted), edges=edges, counts=counts
    )  # fmt: skip


def drawn_reference(rng, n=400):
    """A reference as it comes out of n prompts of the world of `entries`."""
    sample = [each[0] for each in entries(rng, n)]
    bins = [each.bins for each in sample if each.bins]
    counts = [[sum(b[c] == bin_ for b in bins) for bin_ in "0123456789n"] for c in range(2)]
    return msgspec.structs.replace(
        reference(),
        n_prompts=n,
        reached=len(bins),
        accepted=sum(e.outcome == "accepted" for e in sample),
        counts=counts,
    )


def entries(rng, n, *, shift=0, reached=0.6, accepted=0.5, unknown=1 / 3, audit=None, lost=0.1, alike=2):
    """n prompts with two attempts each, that go alike; `shift` of the bins of the first column are one up."""
    prompts = []
    for p in range(n):
        first = int(rng.integers(10))
        first = min(first + (rng.random() < shift), 9)
        second = "n" if rng.random() < unknown else str(rng.integers(10))
        bins = f"{first}{second}" if rng.random() < reached else ""
        good = rng.random() < accepted
        up = audit is not None and rng.random() < (lost if good else 0.5)
        audited = Audited(audit, 2, 0.1) if up and rng.random() < audit else None
        outcome = "discarded" if up and audited is None else "accepted" if good else "unaccepted"
        made = [
            Entry(id=f"{p}/{a}", prompt_id=f"{p}", outcome=outcome, tokens=0, prompt_tokens=0, seconds=0.0,
                  audited=audited, bins=bins)
            for a in range(alike)
        ]  # fmt: skip
        prompts.append(made)
    return prompts


def found(prompts, of=None):
    test = DriftTest(of or reference(), COLUMNS, LEVEL)
    for each in prompts:
        test.add(each)
    return test.found


# References


def test_bins_lie_between_edges_and_what_is_not_known_has_a_letter():
    of = Reference(
        checkpoint=1, n_prompts=9, reached=5, accepted=4, edges=[[0.5, 2.0], []], counts=[[1, 2, 1, 1], [5, 0]]
    )
    assert of.bins([0.4, 7.0]) == "00"
    assert of.bins([0.5, -math.inf]) == "10"
    assert of.bins([math.inf, math.nan]) == "2n"
    assert msgspec.json.decode(msgspec.json.encode(of), type=Reference) == of


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": [[1, 2], [5, 0]]},
        {"counts": [[5, 0]]},
        {"reached": 10},
        {"edges": [[0.1 * i for i in range(10)], []]},
    ],
)
def test_a_reference_that_does_not_add_up_is_refused(wrong):
    right = {"checkpoint": 1, "n_prompts": 9, "reached": 5, "accepted": 4, "edges": [[1.0], []],
             "counts": [[2, 2, 1], [5, 0]]}  # fmt: skip
    Reference(**right)
    with pytest.raises((InputError, msgspec.ValidationError)):
        Reference(**right | wrong)


def test_the_reference_counts_one_attempt_of_each_prompt_that_the_policy_lets_come_so_far(fitted):
    table, policy = fitted.certifying, fitted.file.policy()
    stop = policy.stops(table)
    of = reference_of(table, stop, "key")
    drawn = one_each(table.prompt, table.attempt_ids, "key")
    assert of.n_prompts == table.n_prompts == len(drawn)
    assert of.accepted == table.accepted[drawn].sum()
    here = []
    for i in drawn:
        rows = range(table.start[i], table.start[i + 1] - 1)  # checkpoints
        last = stop[i] if stop[i] >= 0 else rows[-1]
        here += [row for row in rows if table.k[row] == of.checkpoint and row <= last]
    assert of.reached == len(here) >= len(drawn) / 2
    strings = [of.bins(table.values[row]) for row in here]
    for c, (counts, column) in enumerate(zip(of.counts, table.columns, strict=True)):
        told = [s[c] for s in strings]
        assert counts == [*(told.count(str(b)) for b in range(len(counts) - 1)), told.count("n")]
        assert min(counts[:-1]) > 0 or sum(counts[:-1]) == 0  # no bin is empty
        assert len(counts) == 2 or not column.startswith(History.name)  # the history is not compared
    assert sum(len(counts) > 2 for counts in of.counts) >= 5
    assert reference_of(table.take(np.arange(20)), stop[:20], "key") is None


def test_a_live_attempt_has_the_bins_of_its_row_unless_it_is_discarded_before(fitted):
    policy = fitted.file.policy()
    of = reference_of(fitted.certifying, policy.stops(fitted.certifying), "key")
    policy = replace(policy, reference=of)
    traces = make_traces(60, seed=9)
    table = build_evidence(traces, policy.schedule, policy.validators)
    lengths = np.diff(table.start)
    seen = {"": 0}
    for trace in traces:
        i = table.attempt_ids.index(trace.id)
        run = policy.start(trace.prompt, {"history": {"accepted": 0, "rejected": 0}})
        decisions = [run.begin(), *(run.feed(character, 1) for character in trace.text)]
        stops = [d.k for d in decisions if d is not None and d.action is Action.DISCARD]
        has = table.start[i] + of.checkpoint
        expected = ""
        if of.checkpoint < lengths[i] - 1 and not (stops and stops[0] < of.checkpoint):
            expected = of.bins(table.values[has])
        assert run.bins == expected
        seen[expected] = seen.get(expected, 0) + 1
    assert seen[""] > 0
    assert len(seen) > 5


def test_a_reference_of_other_columns_is_refused(fitted):
    with pytest.raises(InputError, match="other columns"):
        replace(fitted.file.policy(), reference=reference())


def test_what_is_rare_beside_a_common_value_has_a_bin_of_its_own():
    assert _tenths(np.asarray([0.0] * 95 + [1.0] * 5)) == [1.0]
    assert _tenths(np.asarray([0.0] * 5 + [1.0] * 95)) == [1.0]
    assert _tenths(np.asarray([-1.0] * 3 + [0.0] * 94 + [2.0] * 3)) == [0.0, 2.0]
    assert _tenths(np.asarray([3.0] * 9)) == []
    assert _tenths(np.asarray([])) == []
    rng = np.random.default_rng(5)
    assert len(_tenths(rng.random(1000))) == 9
    for _ in range(200):
        values = rng.choice(rng.normal(size=30), 100, p=rng.dirichlet(np.full(30, 0.2)))
        edges = _tenths(values)
        assert len(edges) <= 9
        assert np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).min() > 0


# Drift


def test_nothing_is_named_in_more_runs_than_the_level_where_nothing_has_changed():
    """Over two looks, the reference drawn anew as well. Attempts of a prompt go alike, and count once."""
    rng = np.random.default_rng(1)
    named = 0
    for _ in range(RUNS):
        named += bool(found(entries(rng, 600), drawn_reference(rng)))
    assert named <= ALLOWED


def test_the_test_of_drift_can_fail():
    """Each attempt for itself, as if attempts of a prompt were independent: too often something is named."""
    rng = np.random.default_rng(2)
    named = 0
    for _ in range(40):
        apart = [[each] for prompt in entries(rng, 150, alike=4) for each in prompt]
        named += bool(found(apart, drawn_reference(rng)))
    assert named > int(binom.isf(1e-6, 40, LEVEL))


@pytest.mark.parametrize(
    ("change", "column", "words"),
    [
        ({"shift": 1.0}, "a.one", "of its values lie elsewhere"),
        ({"unknown": 0.6}, "a.two", "of its values lie elsewhere"),
        ({"reached": 0.4}, REACHED, "come to checkpoint 2, not 60%"),
        ({"accepted": 0.35}, ACCEPTANCE, "are accepted, not 50%"),
    ],
)
def test_what_has_drifted_is_named_and_nothing_else(change, column, words):
    rng = np.random.default_rng(3)
    before = entries(rng, 200)
    after = entries(rng, 1200, **change)
    drift = found([*before, *after])
    assert [each.column for each in drift] == [column]
    assert words in drift[0].words
    assert drift[0].prompt in (600, 1400)
    assert 0.03 < drift[0].size < 0.3


def test_acceptance_is_read_by_weight_or_not_at_all():
    """Half of the good samples are given up: by weight the rate is as before; without audits nothing can be said."""
    rng = np.random.default_rng(7)
    assert not found(entries(rng, 1400, audit=0.3, lost=0.5))
    fewer = found(entries(rng, 1400, audit=0.3, lost=0.5, accepted=0.3))
    assert [each.column for each in fewer] == [ACCEPTANCE]
    discarding = entries(rng, 1400, audit=1e-9, lost=0.5)
    assert not [each for each in found(discarding) if each.column == ACCEPTANCE]


def test_which_attempt_counts_hangs_on_its_id_alone():
    """A prompt's accepted attempts, told first or last: neither are all counted, nor none."""
    rng = np.random.default_rng(6)
    pairs = zip(entries(rng, 1400, accepted=1.0), entries(rng, 1400, accepted=0.0), strict=True)
    mixed = [[good, replaced(bad, f"{bad.id}/other")] for (good, _), (bad, _) in pairs]
    assert not found(mixed)
    assert not found([prompt[::-1] for prompt in mixed])


def test_bins_that_are_empty_before_and_since_are_no_harm():
    of = reference()
    counts = [[0, *each[1:3], 0, *each[4:]] for each in of.counts]
    prompts = entries(np.random.default_rng(8), 200)
    kept = [[msgspec.structs.replace(e, bins="" if set(e.bins) & {"0", "3"} else e.bins) for e in p] for p in prompts]
    assert REACHED in [each.column for each in found(kept, msgspec.structs.replace(of, counts=counts))]


def replaced(entry, name):
    return msgspec.structs.replace(entry, id=name)


def test_a_policy_file_has_a_reference_that_its_monitor_uses(fitted, tmp_path):
    file = fitted.file
    table = fitted.certifying
    stop = file.policy().stops(table)
    assert file.reference is not None
    assert file.reference == reference_of(table, stop, key_of([make_table(400, attempts=2, seed=1)]))
    assert file.policy().reference == file.reference
    followed = [file.policy().follow(each) for each in (fitted.candidates.fitted.table, table)]
    roots = np.concatenate([np.sqrt(each.M[each.stop[each.stop >= 0]]) for each in followed])
    assert (stop >= 0).any()
    assert file.mean_root_posterior == pytest.approx(roots.mean(), rel=0.2)  # out of fold where it was fitted
    file.save(tmp_path / "policy.json")
    assert PolicyFile.load(tmp_path / "policy.json") == file
    monitor = Monitor(file, attempts=2, audit=Audit(share=0.1, mean_root=file.mean_root_posterior))
    rows = table.start[:-1] + file.reference.checkpoint
    for p in range(200):
        i = int(np.flatnonzero(table.prompt == p % table.n_prompts)[0])
        bins = "9" * len(table.columns) if rows[i] < table.end[i] else ""
        outcome = "accepted" if table.accepted[i] else "unaccepted"
        monitor.add([Entry(id=f"{p}/0", prompt_id=f"{p}", outcome=outcome, tokens=0, prompt_tokens=0, seconds=0.0,
                           bins=bins)])  # fmt: skip
    assert monitor.state.max_false_reject == 0.1
    assert len(monitor.state.drift) > 1
    old = msgspec.json.decode(msgspec.json.encode(file))
    del old["reference"], old["mean_root_posterior"]
    assert msgspec.json.decode(msgspec.json.encode(old), type=PolicyFile).policy().reference is None
