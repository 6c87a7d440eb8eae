"""Certificates about further attempts at these prompts: valid for any rates of given prompts, and named as such."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.signal import fftconvolve
from scipy.stats import binom

import tiny
from makers import make_table, make_traces
from msifr_calibration import Family, FitOptions, fit_families, fit_policy
from msifr_calibration.betting import (
    binomial_p_value,
    given_prompts_needed,
    given_prompts_p_value,
    given_prompts_upper,
)
from msifr_calibration.certificate import certificate_of, certify_in_order
from msifr_calibration.held_out import HeldOut, rank_in_prompt
from msifr_calibration.to_certify import attempts_to_certify, prompts_to_certify
from msifr_integrations.cli import main
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import prompt_hash
from msifr_policy.evidence.history import with_history
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.provenance import Provenance
from msifr_policy.records.traces import write_traces

ALPHA, DELTA = 0.05, 0.1
REPEATS = 2000
# A right test certifies what has f = α more often than this with probability < 1e-6; one that errs in 17.3 % of the
# calibrations is let pass with the same probability.
ALLOWED = int(binom.isf(1e-6, REPEATS, DELTA))


def bare_table(attempts: np.ndarray) -> EvidenceTable:
    """Attempts `[P]` at each of P prompts, no evidence, none accepted."""
    n, start = int(attempts.sum()), np.concatenate(([0], np.cumsum(attempts)))
    made = make_table(2)
    prompt = np.repeat(np.arange(len(attempts)), attempts)
    return replace(
        made,
        **{
            name: np.resize(getattr(made, name), (n, *getattr(made, name).shape[1:])) for name in ("values", "verdicts")
        },
        k=np.ones(n, dtype=np.int64),
        spent=np.ones(n),
        position=np.ones(n, dtype=np.int64),
        start=np.arange(n + 1),
        attempt_ids=tuple(f"p{p}/{i - start[p]}" for i, p in enumerate(prompt)),
        prompt_ids=tuple(f"p{p}" for p in range(len(attempts))),
        prompt_hash=np.arange(len(attempts)).astype(np.uint64),
        prompt=prompt,
        groups=("",) * n,
        accepted=np.zeros(n, dtype=bool),
    )


def most_losses(alpha: float, delta: float, n_most: int) -> np.ndarray:
    """`[n_most + 1]` by number of accepted samples the most losses that certify, −1 where none do."""
    most = [-1]
    for n in range(1, n_most + 1):
        most.append(most[-1] + (given_prompts_p_value(most[-1] + 1, n, alpha) <= delta))
    return np.asarray(most)


def chance_of_a_certificate(kinds: list[tuple[int, float, float]], most: np.ndarray) -> float:
    """Exactly: of kinds of independent attempts, (how many, P(accepted and lost), P(accepted and kept))."""
    together = np.ones((1, 1))
    limit = int(most.max()) + 1
    for n, lost, kept in kinds:
        L, G = np.arange(min(n, limit) + 1)[:, None], np.arange(n + 1)[None]
        given_not_lost = min(1.0, kept / (1 - lost)) if lost < 1 else 0.0
        of_kind = binom.pmf(L, n, lost) * binom.pmf(G, n - L, given_not_lost)
        together = fftconvolve(together, of_kind)[: limit + 1]
    L, G = np.arange(together.shape[0])[:, None], np.arange(together.shape[1])[None]
    return float(together[most[L + G] >= L].sum())


def extreme_law(rng: np.random.Generator, alpha: float, critical: int) -> list[tuple[int, float, float]] | None:
    """Attempts of the kinds that can be extreme, with Σ P(lost) = α·Σ P(accepted) exactly; None if they cannot have it.

    The chance of a certificate is linear in the rates of each single attempt, so along the line on which its share of
    H stays the same the largest lies at an end: an attempt is never lost, or never kept, or always accepted. Within a
    kind it is a symmetric function of the rates, linear in each, whose largest value at a given sum has at most one
    rate beside 0 and 1 (Hoeffding 1956, corollary 2.1).
    """
    total = rng.uniform(critical, 4 * critical)
    always_kept, accepted, sometimes = (total * rng.dirichlet([0.5, 0.5, 0.5])).astype(int)
    sometimes = int(sometimes * rng.uniform(1, 3))
    always_lost = int(rng.choice([0, 0, 0, 1, 2]))
    lost, kept = alpha * rng.uniform(0.3, 1.1), rng.random()
    good = always_kept + accepted * (1 - lost) + sometimes * kept
    others = int(rng.choice([1, 3, 10, 200]))
    rest = (alpha / (1 - alpha) * good - accepted * lost - always_lost) / others
    if not 0 <= rest <= 1:
        return None
    return [
        (always_kept, 0.0, 1.0),
        (accepted, lost, 1 - lost),
        (sometimes, 0.0, kept),
        (others, rest, 0.0),
        (always_lost, 1.0, 0.0),
    ]


@pytest.mark.parametrize(("alpha", "delta"), [(0.05, 0.1), (0.1, 0.1), (0.2, 0.05), (0.02, 0.2)])
def test_no_extreme_law_of_given_attempts_is_certified_more_often_than_delta(alpha, delta):
    rng = np.random.default_rng(1)
    critical = int(np.ceil(np.log(delta) / np.log(1 - alpha)))
    most = most_losses(alpha, delta, 20 * critical + 500)
    laws = [law for _ in range(800) if (law := extreme_law(rng, alpha, critical)) is not None]
    assert len(laws) > 200
    found = [chance_of_a_certificate(law, most) for law in laws]
    assert max(found) <= delta
    # Where all are alike and always accepted it comes near: the search is where it is close.
    alike = [chance_of_a_certificate([(n, alpha, 1 - alpha)], most) for n in range(critical, 3 * critical)]
    assert 0.8 * delta < max(alike) <= delta


def test_losses_of_given_prompts_are_no_more_often_few_than_binomial_ones():
    """Hoeffding's theorem, exactly, by convolution; and not above α·n − 1, where the p-value is 1 for that reason."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        n = int(rng.integers(20, 80))
        rate = np.clip(rng.beta(*rng.uniform(0.1, 3, 2), n), 0, 1)
        few = np.ones(1)
        for each in rate:
            few = np.convolve(few, [1 - each, each])
        alpha = rate.mean()
        most = int(np.floor(alpha * n - 1))
        if most >= 0:
            assert np.all(np.cumsum(few)[: most + 1] <= binom.cdf(np.arange(most + 1), n, alpha) + 1e-12)
            assert given_prompts_p_value(most, n, alpha) == binomial_p_value(most, n, alpha)
        assert given_prompts_p_value(most + 1, n, alpha) == 1.0
    # Two attempts, one that is always lost: at most one is lost with probability 0.5, not 0.44, so no bound may use it.
    assert binomial_p_value(1, 2, 0.75) < 0.5
    assert given_prompts_p_value(1, 2, 0.75) == 1.0


def test_so_many_accepted_samples_are_needed():
    assert given_prompts_needed(45, 0.05) == 45
    assert given_prompts_needed(14, 0.05) == 20  # at confidence 1/2 fourteen would do, but 0 ≤ α·n − 1 takes twenty
    for needed, delta in ((45, 0.1), (20, 0.5)):
        assert given_prompts_p_value(0, needed, 0.05) <= delta < given_prompts_p_value(0, needed - 1, 0.05)


def test_the_upper_bound_of_given_prompts_is_what_the_test_rejects():
    for lost, n in ((0, 45), (2, 105), (7, 60), (0, 3), (2, 3)):
        upper = given_prompts_upper(lost, n, 0.9)
        assert lost / n < upper <= 1
        for more in (upper + 1e-6, upper + 0.1):
            assert more >= 1 or given_prompts_p_value(lost, n, more) <= 0.1 + 1e-9
    assert given_prompts_upper(3, 3, 0.9) == given_prompts_upper(0, 0, 0.9) == 1.0


SETTINGS = {
    "100 x 16, alike": (np.full(100, 16), [(1.0, 0.5, 1.0)], "prompts"),
    "100 x 16, unlike": (np.full(100, 16), [(0.4, 0.95, 0.2), (0.3, 0.3, 4.0), (0.3, 0.05, 10.0)], "prompts"),
    "30 x 16, unlike": (np.full(30, 16), [(0.5, 0.9, 0.0), (0.4, 0.5, 1.0), (0.1, 0.2, 14.0)], "prompts"),
    "200 x 4, unlike": (np.full(200, 4), [(0.5, 0.8, 0.1), (0.5, 0.15, 6.0)], "prompts"),
    "a tenth is always accepted and half lost": (np.full(60, 12), [(0.9, 0.6, 0.0), (0.1, 1.0, 1.0)], "prompts"),
    "2 to 24 attempts, attempts weigh": (np.tile([2, 6, 24], 30), [(0.5, 0.9, 0.3), (0.5, 0.3, 4.0)], "attempts"),
    "4 to 24 attempts, prompts weigh": (np.tile([4, 8, 24], 40), [(0.5, 0.9, 0.3), (0.5, 0.3, 4.0)], "prompts"),
}
"""By name: attempts of each prompt, kinds of prompts (share, P(A), f relative to each other), what weighs equally."""


def given_rates(setting: str) -> tuple[np.ndarray, np.ndarray]:
    """Return `[P]` P(A) and f of each prompt: these prompts are given, and their f together is α exactly.

    Counted otherwise than it weighs f would seem less: prompts that lose much have few attempts where prompts weigh.
    """
    attempts, kinds, weigh = SETTINGS[setting]
    share, a, ratio = np.asarray(kinds).T
    kind = np.empty(len(attempts), dtype=int)
    order = np.argsort(-attempts if weigh == "prompts" else attempts, kind="stable")
    kind[order] = np.repeat(np.arange(len(kinds)), np.round(share * len(attempts)).astype(int))
    weight = (attempts if weigh == "attempts" else np.ones(len(attempts))) * a[kind]
    f = ALPHA * ratio[kind] / ((weight * ratio[kind]).sum() / weight.sum())
    assert f.max() <= 1
    return a[kind], f


def held_out_of(table: EvidenceTable, accepted: np.ndarray, key: str, weigh: str) -> HeldOut:
    return HeldOut.of([replace(table, accepted=accepted)], key, weigh, scope="these prompts")


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_said_of_these_prompts_is_wrong_no_more_often_than_delta(setting):
    """The prompts are given and stay; only their attempts are drawn anew. Every certificate of f ≤ α is wrong."""
    attempts, _, weigh = SETTINGS[setting]
    a, f = given_rates(setting)
    table = bare_table(attempts)
    rng = np.random.default_rng(3)
    wrong = 0
    for repeat in range(REPEATS):
        of = held_out_of(table, rng.random(table.n_attempts) < a[table.prompt], f"{repeat}", weigh)
        discarded = rng.random(table.n_attempts) < f[table.prompt]
        wrong += of.p_value(discarded, "exact binomial", ALPHA) <= DELTA
    assert wrong <= ALLOWED
    assert wrong > 0 or len(f) < 100  # not by never certifying anything


def test_it_says_nothing_about_new_prompts():
    """Thirty prompts, of which on average one in twenty loses all it has: of *new* prompts the claim is often wrong."""
    table = bare_table(np.full(30, 16))
    rng = np.random.default_rng(4)
    wrong = 0
    for repeat in range(REPEATS // 4):
        f = (rng.random(30) < ALPHA).astype(float)
        of = held_out_of(table, rng.random(table.n_attempts) < 0.5, f"{repeat}", "prompts")
        wrong += of.p_value(f[table.prompt] > 0, "exact binomial", ALPHA) <= DELTA
    assert wrong > REPEATS // 4 * 0.15


def test_attempts_of_each_prompt_are_counted_as_they_weigh():
    table = bare_table(np.asarray([2, 5, 9]))
    accepted = np.ones(16, dtype=bool)
    by_prompt = held_out_of(table, accepted, "k", "prompts")
    assert np.bincount(by_prompt.prompt[by_prompt.drawn]).tolist() == [2, 2, 2]
    assert len(held_out_of(table, accepted, "k", "attempts").drawn) == 16
    assert by_prompt.tests == ("exact binomial",)
    rank = rank_in_prompt(table.prompt, table.attempt_ids, "k", "draw")
    assert [sorted(rank[table.prompt == p].tolist()) for p in range(3)] == [[0, 1], list(range(5)), list(range(9))]
    assert rank.tolist() != rank_in_prompt(table.prompt, table.attempt_ids, "other", "draw").tolist()
    turned = table.take(np.arange(16)[::-1])
    assert rank_in_prompt(turned.prompt, turned.attempt_ids, "k", "draw").tolist() == rank[::-1].tolist()


def test_the_certificate_names_its_scope():
    table = replace(bare_table(np.full(30, 16)), accepted=np.arange(480) % 2 == 0)
    table = replace(table, groups=("one", "other") * 240)
    of = HeldOut.of([table], "k", scope="these prompts")
    none = np.zeros(480, dtype=bool)
    tested = certify_in_order([[none]], of, max_false_reject=ALPHA, confidence=1 - DELTA)
    certificate = certificate_of(tested, table, (0, 0), none, key="k")
    assert (certificate.scope, certificate.unit_of_independence) == ("these prompts", "attempt")
    assert "of further attempts at these 30 prompts" in certificate.message
    assert "it says nothing about new prompts" in certificate.message
    assert "new prompts like these" not in certificate.message
    assert certificate.n_accepted == 240
    assert certificate.groups["one"].n_accepted == 240  # all of them: given their prompt, attempts are independent
    other = certify_in_order([[none]], HeldOut.of([table], "k"), max_false_reject=ALPHA, confidence=1 - DELTA)
    assert certificate_of(other, table, None, none).scope == "new prompts"


THESE = FitOptions(scope="these prompts")


def test_attempts_of_every_prompt_are_on_both_sides():
    table = make_table(30, attempts=16, seed=1)
    held_out = attempts_to_certify(table, "k", THESE, 0.5)
    per_prompt = np.bincount(table.prompt[held_out], minlength=30)
    assert len(set(per_prompt)) == 1  # prompts weigh equally: as many of each
    assert 0 < per_prompt[0] < 16
    # To the critical number nearest to half of the accepted ones (45, 77, 105, …), and not many beyond.
    accepted, half = int(table.accepted[held_out].sum()), table.n_accepted / 2
    wanted = min((45, 77, 105, 132, 158), key=lambda n: abs(n - half))
    assert wanted <= accepted <= wanted + 30
    turned = table.take(np.arange(table.n_attempts)[::-1])
    again = attempts_to_certify(turned, "k", THESE, 0.5)
    assert {turned.attempt_ids[i] for i in np.flatnonzero(again)} == {
        table.attempt_ids[i] for i in np.flatnonzero(held_out)
    }
    assert not np.array_equal(attempts_to_certify(table, "other", THESE, 0.5), held_out)
    share = attempts_to_certify(table, "k", replace(THESE, certify_share=0.25), 0.5)
    assert np.bincount(table.prompt[share]).tolist() == [4] * 30
    whole = attempts_to_certify(table, "k", FitOptions(), 0.5)
    assert np.array_equal(whole, prompts_to_certify(table, "k", FitOptions(), 0.5)[table.prompt])


@pytest.mark.parametrize("weigh", ["prompts", "attempts"])
def test_unequal_attempts_are_split_as_they_weigh(weigh):
    table = replace(bare_table(np.tile([1, 2, 12, 12, 24], 20)), accepted=np.ones(1020, dtype=bool))
    held_out = attempts_to_certify(table, "k", replace(THESE, weigh=weigh), 0.5)
    attempts, held = (np.bincount(table.prompt[part], minlength=100) for part in (held_out | True, held_out))
    if weigh == "prompts":
        # 60 prompts have twelve attempts: more are counted so than of the 80 that have two, or the 20 with 24.
        assert set(held[attempts >= 12]) == {held.max()}
        assert not held[attempts < 12].any()
    else:
        shares = [held[attempts == n].sum() / attempts[attempts == n].sum() for n in (1, 2, 12, 24)]
        assert shares[2:] == pytest.approx([np.mean(held_out)] * 2, abs=0.05)
        assert shares[:2] == pytest.approx([np.mean(held_out)] * 2, abs=0.45)
        assert (np.abs(held - attempts * held.sum() / attempts.sum()) <= 1.5).all()
    assert ((held < attempts) | (attempts == 1)).all()


def test_a_few_prompts_are_certified_for_further_attempts():
    """The plain fit cannot be: 24 prompts are too few; it names the way out, and that way leads out."""
    table = make_table(24, attempts=16, seed=2, slip=0.0)
    plain = fit_policy(table, method="linear").file
    assert not plain.certificate.certified
    assert "--scope these-prompts" in plain.certificate.message
    fit = fit_policy(table, method="linear", scope="these prompts")
    certificate = fit.file.certificate
    assert certificate.certified
    assert (certificate.scope, certificate.unit_of_independence) == ("these prompts", "attempt")
    assert certificate.method == "exact binomial"
    assert "further attempts at these 24 prompts" in certificate.message
    fitting = fit.candidates.family.table
    assert not set(fitting.attempt_ids) & set(fit.certifying.attempt_ids)
    assert len(fitting.attempt_ids) + len(fit.certifying.attempt_ids) == table.n_attempts
    assert set(fitting.prompt_ids) == set(fit.certifying.prompt_ids) == set(table.prompt_ids)
    assert not fit.file.policy().reads_history
    assert fit_policy(table, method="linear", scope="these prompts", seed=7).certifying.attempt_ids == (
        fit.certifying.attempt_ids
    )


def test_a_file_names_the_prompts_it_is_about(tmp_path):
    table = make_table(24, attempts=16, seed=2, slip=0.0)
    file = fit_policy(table, method="linear", scope="these prompts").file
    file.save(tmp_path / "policy.json")
    read = PolicyFile.load(tmp_path / "policy.json")
    assert read == file
    assert read.certified_on.shares(table).all()
    assert len(read.certified_on.prompts) == 8 * 24
    of_others = Provenance(prompts=(table.prompt_hash[:5] + np.uint64(1)).astype("<u8").tobytes())
    assert read.policy().provenance.differences(of_others) == ["prompts: 5 of 5 here are others than the 24 there"]
    assert read.policy().provenance.differences(Provenance(prompts=read.certified_on.prompts)) == []
    plain = msgspec.structs.replace(read, certificate=msgspec.structs.replace(read.certificate, scope="new prompts"))
    assert plain.policy().provenance.differences(of_others) == []  # about any prompts like these


def test_too_few_attempts_say_how_many_are_needed():
    table = make_table(10, attempts=4, seed=3)
    message = fit_policy(table, method="linear", scope="these prompts").file.certificate.message
    assert "attempts at each prompt, not 4" in message


def test_what_cannot_be_about_these_prompts_is_refused():
    with pytest.raises(InputError, match="no prompt has two attempts"):
        fit_policy(make_table(50), method="linear", scope="these prompts")
    table = make_table(24, attempts=8)
    with pytest.raises(InputError, match="history of a prompt is no evidence"):
        fit_policy(with_history(table), method="linear", scope="these prompts")
    with pytest.raises(InputError, match="history of a prompt is no evidence"):
        HeldOut.of([with_history(table)], "k", scope="these prompts")
    with pytest.raises(InputError, match="new prompts only"):
        fit_families([Family("one", table), Family("other", table)], scope="these prompts")
    with pytest.raises(InputError, match="a quota reads the history"):
        FitOptions(scope="these prompts", accepted_per_prompt=2)
    with pytest.raises(InputError, match="unknown scope"):
        FitOptions(scope="all prompts")


def test_the_command_line_says_what_is_certified_and_what_is_not(tmp_path):
    traces, policy = tmp_path / "traces.jsonl", tmp_path / "policy.json"
    write_traces(traces, make_traces(24, attempts=16, seed=2, slip=0.0))
    run = CliRunner().invoke(
        main, ["fit", str(traces), "-o", str(policy), "--posterior", "linear", "--scope", "these-prompts", "--json"]
    )
    assert run.exit_code == 0, run.output
    said = json.loads(run.stdout[run.stdout.index("{") :])
    assert said["certificate"]["scope"] == "these prompts"
    others = tmp_path / "others.jsonl"
    write_traces(others, make_traces(30, seed=3))
    run = CliRunner().invoke(main, ["evaluate", str(policy), str(others)])
    assert run.exit_code == 0, run.output
    assert "prompts: 6 of 30 here are others than the 24 there" in run.output
    assert "seen 24 of these 30 prompts: it was fitted on 24 and certified on 24" in run.output
    assert "of further attempts at these 24 prompts" in run.output
    assert "it says nothing about new prompts" in run.output
    refused = CliRunner().invoke(main, ["fit", str(traces), "-o", str(policy), "--scope", "all"])
    assert refused.exit_code == 2
    assert "new-prompts" in refused.output


def test_a_run_says_at_its_start_which_prompts_the_certificate_is_not_about(tmp_path):
    policy = tiny.TextPolicy(tiny.unwanted)
    known = [prompt_hash(p.prompt_id, p.prompt) for p in tiny.prompts()]
    for hashes, expected in ((known, []), (known[1:], ["1"])):
        policy.provenance = Provenance(prompts=np.asarray(hashes, dtype="<u8").tobytes())
        said = []
        tiny.run(tmp_path / f"{len(hashes)}.jsonl", policy, tell=said.append)
        remarks = [remark for remark in said if "certified on other attempts" in remark]
        assert [remark.split("prompts: ")[1].split(" of ")[0] for remark in remarks] == expected
