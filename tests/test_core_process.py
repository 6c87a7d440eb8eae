"""Stage processes: what is refused, and that sparse and dense ones give the same numbers without
densifying."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.table import Costing, EvidenceTable
from msifr_policy.exact.evaluation import StagePolicy, evaluate, never_discard
from msifr_policy.exact.hidden import hide
from msifr_policy.exact.optimum import frontier, keep_checkpoints, solve, solve_budget, solve_prices
from msifr_policy.exact.prices import Prices, charge_checkpoints
from msifr_policy.exact.process import StageProcess, markov_chain, mixture, pad, prospects, random_lengths, reach
from msifr_policy.exact.tree import Branch, Node
from msifr_sim import empirical_chain

P = np.array([[0.5, 0.5], [0.1, 0.9]])
GOOD = {
    "transitions": (P, P),
    "stage_costs": (np.array([1.0, 2.0]), np.array([3.0, 4.0])),
    "utility": np.array([0.0, 1.0]),
    "initial": np.array([1.0, 0.0]),
    "prompt_cost": 5.0,
}
NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transitions": ()}, "no stages"),
        ({"transitions": (P, np.zeros((2, 0)))}, "checkpoint 2: no states"),
        ({"transitions": (P, np.ones((3, 2)) / 2)}, "stage 1: leads to 2 states but checkpoint 1 has 3"),
        ({"transitions": (P, P + 0.1)}, "stage 2, state 0: transition probabilities sum to 1.2"),
        ({"transitions": (np.array([[0.5, NAN], [0.1, 0.9]]), P)}, "stage 1, state 0: .* sum to nan"),
        ({"transitions": (P, np.array([[1, 0], [-0.5, 1.5]]))}, "stage 2, state 1: probability -0.5"),
        ({"transitions": (P, sp.csr_array([[1, 0], [-0.5, 1.5]]))}, "stage 2, state 1: probability -0.5"),
        (
            {"stage_costs": (np.array([1.0, 2.0]), np.array([3.0, -4.0]))},
            "stage_costs at checkpoint 1, state 1: value -4",
        ),
        ({"stage_costs": (np.array([NAN, 2.0]), np.ones(2))}, "stage_costs at checkpoint 0, state 0: value nan"),
        ({"stage_costs": (np.ones(2),)}, "stage_costs: 1 vectors for 2 checkpoints"),
        ({"stage_costs": (np.ones(2), np.ones(3))}, "checkpoint 1: stage_costs of shape"),
        ({"utility": np.array([0.0, -1.0])}, "utility at checkpoint 2, state 1: value -1"),
        ({"utility": np.zeros(2)}, "checkpoint 2, state 0: acceptance cannot be reached"),
        ({"initial": np.array([0.5, 0.4])}, "initial distribution: probabilities sum to 0.9"),
        ({"initial": np.array([1.5, -0.5])}, "initial distribution, state 1: value -0.5"),
        ({"prompt_cost": -1.0}, "prompt cost -1"),
        ({"exit_costs": (np.ones(2), np.ones(2))}, "exit_utilities: 0 vectors"),
        (
            {"exit_costs": (np.ones(2), np.array([1.0, NAN])), "exit_utilities": (np.ones(2), np.ones(2))},
            "exit_costs at checkpoint 1, state 1: value nan",
        ),
    ],
)
def test_bad_processes_are_refused_with_the_place(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StageProcess(**{**GOOD, **change})  # type: ignore[arg-type]


def test_bad_policies_are_refused_with_the_place() -> None:
    process = StageProcess(**GOOD)
    with pytest.raises(InputError, match=r"checkpoint 1, state 0: probabilities 1.5"):
        StagePolicy((np.ones(2), np.array([1.5, 0.0])))
    with pytest.raises(InputError, match=r"continuing of shape \(\), expected \(1,\)"):
        StagePolicy((1.0, 1.0))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="policy: 1 vectors for 2"):
        evaluate(process, StagePolicy((np.ones(2),)))
    with pytest.raises(InputError, match="checkpoint 0, state 1: EXIT is not available"):
        evaluate(process, StagePolicy((np.zeros(2), np.ones(2)), (np.array([0.0, 0.5]), np.zeros(2))))


def test_bad_questions_are_refused() -> None:
    process = StageProcess(**GOOD)
    with pytest.raises(InputError, match=r"price 1: value -1 \(must be >= 0\)"):
        solve_prices(process, [1.0, -1.0])
    with pytest.raises(InputError, match=r"checkpoints \[2\]"):
        solve(process, checkpoints=[2])
    with pytest.raises(InputError, match=r"budget 1.5"):
        solve_budget(process, 1.5)
    with pytest.raises(InputError, match="checkpoint costs"):
        keep_checkpoints(process, [1.0])
    with pytest.raises(InputError, match=r"cost of checkpoint 1: value -1 \(must be finite and >= 0\)"):
        keep_checkpoints(process, [1.0, -1.0])
    with pytest.raises(InputError, match="reasons: 1 vectors for 2"):
        evaluate(process, never_discard(process), reasons=[["a", "b"]])
    with pytest.raises(InputError, match="labels: 1 vectors for 3"):
        hide(process, [np.zeros(2)])
    with pytest.raises(InputError, match="weights"):
        mixture([1.0], [process, process])
    with pytest.raises(InputError, match="1 stages for a process of 2"):
        pad(process, 1)
    with pytest.raises(InputError, match=r"checkpoint 1, state 1: probability 1\.5 of finishing"):
        random_lengths(process, [[0.5, 1.5]])
    with pytest.raises(InputError, match="finishing: 1 vectors"):
        random_lengths(process, [])
    with pytest.raises(InputError, match="checkpoint 1: value -1"):
        charge_checkpoints(process, [1.0, -1.0])
    with pytest.raises(InputError, match=r"shape \(1,\)"):
        charge_checkpoints(process, [1.0])
    with pytest.raises(InputError, match="second -1"):
        Prices(1.0, 1.0, -1.0)
    with pytest.raises(InputError, match="decode tokens are free"):
        Prices(1.0, 0.0)
    with pytest.raises(InputError, match="seconds 1: value nan"):
        Prices(1.0, 1.0).tokens(seconds=[0.0, NAN])
    with pytest.raises(InputError, match="0 stages"):
        markov_chain(P, [1, 1], [0, 1], [1, 0], stages=0)
    with pytest.raises(InputError, match=r"branch probabilities sum to 0\.5"):
        Node((Branch(0.5, 1, Node()),))


def test_a_process_by_hand() -> None:
    """Two states, two stages: M, r, reach and the optimum worked out on paper."""
    process = StageProcess(**GOOD)
    finished = prospects(process)
    np.testing.assert_allclose(finished.utility[1], [0.5, 0.9])
    np.testing.assert_allclose(finished.utility[0], [0.7, 0.86])
    np.testing.assert_allclose(finished.remaining_cost[0], [1 + 3.5, 2 + 3.9])
    np.testing.assert_allclose(reach(process)[2], [0.3, 0.7])
    full = evaluate(process, never_discard(process))
    assert (full.tokens, full.utility_kept) == pytest.approx((9.5, 0.7))
    # Going on from state 0 at checkpoint 1 is worth 0.5 λ − 3 > 0 at every λ near ρ = 13.6: never discard.
    best = solve(process)
    assert best.price == pytest.approx(9.5 / 0.7)
    assert best.iterations == 1


def random_process(rng: np.random.Generator, *, sparse: bool) -> StageProcess:
    sizes = (3, 40, 30, 20, 10)
    matrices = []
    for n, size in pairwise(sizes):
        matrix = rng.random((n, size)) * (rng.random((n, size)) < 0.2)
        matrix[np.arange(n), rng.integers(0, size, n)] += 0.1
        matrix /= matrix.sum(axis=1, keepdims=True)
        matrices.append(sp.csr_array(matrix) if sparse else matrix)
    return StageProcess(
        transitions=tuple(matrices),
        stage_costs=tuple(rng.random(n) for n in sizes[:-1]),
        utility=rng.random(sizes[-1]) * (rng.random(sizes[-1]) < 0.5),
        initial=np.full(3, 1 / 3),
        prompt_cost=0.1,
        exit_costs=tuple(rng.random(n) for n in sizes[:-1]),
        exit_utilities=tuple(rng.random(n) * 0.3 for n in sizes[:-1]),
    )


def test_sparse_is_dense_and_is_never_densified(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, sparse = (random_process(np.random.default_rng(3), sparse=kind) for kind in (False, True))

    def densified(*_: object, **__: object) -> None:
        raise AssertionError("a sparse transition was densified")

    for method in ("toarray", "todense"):
        monkeypatch.setattr(sp.csr_array, method, densified)
    assert solve(sparse).price == pytest.approx(solve(dense).price, rel=1e-13)
    np.testing.assert_allclose(frontier(sparse).tokens, frontier(dense).tokens, rtol=1e-12)
    policy = solve(dense).policy
    assert evaluate(sparse, policy).tokens == pytest.approx(evaluate(dense, policy).tokens, rel=1e-13)
    assert all(sp.issparse(matrix) for matrix in sparse.transitions)


def test_prices_in_one_sweep_are_prices_one_by_one() -> None:
    process = random_process(np.random.default_rng(4), sparse=False)
    prices = np.array([np.inf, *np.linspace(20, 1, 11)])
    together = solve_prices(process, prices)
    apart = solve_prices(process, prices, at_once=4)
    np.testing.assert_allclose(apart.tokens, together.tokens, rtol=1e-12)
    for i, price in enumerate(prices):
        alone = solve_prices(process, [price])
        np.testing.assert_allclose(alone.tokens[0], together.tokens[i], rtol=1e-12)
        for k in range(process.K):
            np.testing.assert_array_equal(alone.choices[k][:, 0], together.choices[k][:, i])
    assert (np.diff(together.utility_kept) <= 1e-12).all()
    assert (np.diff(together.tokens) <= 1e-12).all()


def test_observed_and_hidden_difficulty() -> None:
    """A mixture of an easy and a hard prompt: seeing which it is can only help, and giving up hard ones is
    [T8]'s."""
    chain = [markov_chain(P, [10, 10], [0, accept], [1, 0], stages=4, prompt_cost=1) for accept in (0.9, 0.1)]
    observed = mixture([0.5, 0.5], chain)
    hidden = hide(observed, [[0, 1] * 2] * 5)
    # Easy prompts are finished for 41 tokens; hard ones are given up once their prompt is paid, for 1.
    assert solve(observed).price == pytest.approx(solve(chain[0]).price * 42 / 41)
    assert solve(observed).price < solve(hidden).price
    stay = solve(observed, checkpoints=range(1, 4))
    assert solve(observed).price <= stay.price
    assert evaluate(observed, solve(observed).policy).discards_by_checkpoint[0] == pytest.approx(0.5)


def test_prices_by_hand() -> None:
    """Dollars per million tokens and per hour become decode tokens; looking is worth it until it costs too much."""
    prices = Prices(prefill_token=0.5e-6, decode_token=2e-6, second=3.6 / 3600)
    assert prices.tokens(prefill=400, decode=50, seconds=0.002) == pytest.approx(100 + 50 + 1)
    np.testing.assert_allclose(prices.tokens(decode=[10, 20], seconds=[0, 0.02]), [10, 30])
    # One flag after stage 1, seen for free: half the attempts are hopeless and stop before stage 2.
    flag = np.array([[0.5, 0.5]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    costs = [prices.tokens(decode=n) for n in (10, 90)]
    process = StageProcess(flag, ([costs[0]], [costs[1]] * 2), [0.0, 1.0], [1.0], prices.tokens(prefill=400))
    assert solve(process).price == pytest.approx((100 + 10 + 45) / 0.5)
    look = prices.tokens(seconds=np.array([0.0, 0.05]))
    charged = charge_checkpoints(process, look)
    assert evaluate(charged, solve(charged).policy).tokens == pytest.approx(100 + 10 + 25 + 45)
    assert solve(charged).price == pytest.approx(keep_checkpoints(process, look).price)
    dear = keep_checkpoints(process, 2 * look)
    assert (dear.checkpoints, dear.price) == ((), pytest.approx(200 / 0.5))
    # What never discarding costs with validators running is no base line: nobody would look.
    assert evaluate(charged, never_discard(charged)).tokens == pytest.approx(225)
    assert evaluate(process, never_discard(process)).tokens == pytest.approx(200)


def test_what_costs_nothing_more_is_not_looked_at() -> None:
    """A finished attempt pays no validator, under `charge_checkpoints` as under `keep_checkpoints`."""
    done = random_lengths(markov_chain(np.eye(1), [10], [0.5], [1], stages=3), [[0.5], [1.0]])
    charged = charge_checkpoints(done, [0, 4, 4])
    assert evaluate(charged, never_discard(charged)).tokens == pytest.approx(10 + 0.5 * (10 + 4))


def test_a_chain_compiled_from_recorded_evidence_by_hand() -> None:
    """Four attempts of random length, the threshold 1/2: one of two unaccepted ones is discarded at its first look."""
    spent = [10, 20, 25, 10, 20, 30, 10, 12, 6]  # the last entry of each attempt is its full cost
    worth = np.array([0.9, 0.9, 0, 0.2, 0.1, 0, 0.8, 0, 0])
    table = EvidenceTable(
        columns=(),
        values=np.zeros((9, 0)),
        verdicts=np.zeros((9, 0), np.int8),
        k=np.array([1, 2, 3, 1, 2, 3, 1, 2, 1]),
        spent=np.array(spent, float),
        position=np.array(spent),
        start=np.array([0, 3, 6, 8, 9]),
        attempt_ids=tuple("abcd"),
        prompt_ids=("p",),
        prompt_hash=np.zeros(1, np.uint32),
        prompt=np.zeros(4, np.int64),
        groups=("",),
        accepted=np.array([True, False, True, False]),
        schedule=EveryUnits(10, "tokens"),
        validators=(),
        costing=Costing("tokens", "recorded"),
        fingerprint="",
    )
    process, policy = empirical_chain(table, worth, np.full(2, 0.5), n_ranges=1)
    result = evaluate(process, policy)
    assert (result.tokens_full, result.utility_full) == pytest.approx((73 / 4, 1 / 2))
    assert (result.tokens, result.false_reject_rate) == pytest.approx((53 / 4, 0))
    # Without an answer after 10 tokens a low worth says it all, so no policy on this evidence does better.
    assert solve(process).price == pytest.approx(result.cost_per_accepted)
    np.testing.assert_allclose(prospects(process).utility[1], [0, 1, 0, 1])
    np.testing.assert_allclose(prospects(process).remaining_cost[1], [20, 8.5, 0, 0])


def test_checkpoints_are_kept_for_what_they_save_not_for_rounding() -> None:
    """Where nothing is gained at λ*, keeping nothing is worth as much by rounding, and is still no answer."""
    process = StageProcess(
        transitions=([[0, 0, 1], [0, 0, 1.0]], [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1.0]]),
        stage_costs=([0, 0], [0, 0, 10]),
        utility=[0, 0, 0, 0.2],
        initial=[0, 1],
        exit_costs=([0, 25], [0, 0, 0]),
        exit_utilities=([0, 0.6], [0, 0, 0]),
    )
    kept = keep_checkpoints(process, [0.0, 0.0])
    assert kept.price == pytest.approx(25 / 0.6)
    assert evaluate(process, kept.policy).cost_per_accepted == pytest.approx(25 / 0.6)


def test_a_frontier_ends_at_the_vertex_of_least_loss() -> None:
    """EXIT at once and finishing both cost 3 tokens per unit of utility; EXIT brings more of it."""
    process = StageProcess([[[1.0]]], [[1.0]], [1 / 3], [1.0], exit_costs=([2.0],), exit_utilities=([2 / 3],))
    found = frontier(process)
    np.testing.assert_allclose([found.utility_kept, found.tokens], [[2 / 3], [2]])


def test_stages_share_their_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A homogeneous chain holds one matrix, dense or sparse, and checks it once."""
    checked = []
    monkeypatch.setattr("msifr_policy.exact.process.check_rows", lambda _, k: checked.append(k))
    for matrix in (P, sp.csr_array(P)):
        chain = markov_chain(matrix, [1, 1], [0, 1], [1, 0], stages=5)
        assert len({id(each) for each in chain.transitions}) == 1
    assert checked == [0, 0]


def test_a_finished_attempt_is_never_discarded() -> None:
    """State 1 has failed and costs nothing more: going on is worth 0 and there is no cost ahead."""
    matrix = np.array([[0.5, 0.3, 0.2], [0, 1, 0], [0, 0, 1.0]])
    process = markov_chain(matrix, [1, 0, 0], [0.5, 0, 1], [1, 0, 0], stages=3)
    for price in (0.1, 1.0, np.inf):
        choices = solve_prices(process, [price]).choices
        assert all((choice[1:] == 0).all() for choice in choices)


def test_values_agree_with_quantecon() -> None:
    """Finite-horizon dynamic programming of another library, for a fixed price, state by state."""
    quantecon = pytest.importorskip("quantecon")
    rng = np.random.default_rng(5)
    S, stages, price = 12, 6, 7.0
    matrix = rng.dirichlet(np.ones(S), S)
    cost, utility = rng.random(S), rng.random(S) * (rng.random(S) < 0.4)
    process = markov_chain(matrix, cost, utility, np.full(S, 1 / S), stages=stages)
    # One absorbing state S after a discard; action 0 continues, action 1 discards.
    Q = np.zeros((S + 1, 2, S + 1))
    Q[:S, 0, :S] = matrix
    Q[:S, 1, S] = Q[S, :, S] = 1
    R = np.zeros((S + 1, 2))
    R[:S, 0] = -cost
    with pytest.warns(UserWarning, match="infinite horizon"):  # it says what beta = 1 rules out
        problem = quantecon.markov.DiscreteDP(R, Q, beta=1.0)
    values, choices = quantecon.markov.ddp.backward_induction(problem, stages, np.append(price * utility, 0.0))
    found = solve_prices(process, [price])
    value = price * found.utility_kept[0] - found.tokens[0]
    assert value == pytest.approx(values[0][:S].mean(), abs=1e-12)
    for k in range(stages):
        np.testing.assert_array_equal(found.choices[k][:, 0], choices[k][:S])


@pytest.mark.parametrize("seed", range(6))
def test_the_ratio_optimum_is_the_best_average_reward(seed: int) -> None:
    """Utility per token, 1/λ*, as the average reward of attempts in a row, by another library's policy iteration.

    A decision that costs c tokens lasts c units of time; Schweitzer's data transformation (1971, *J. Math. Anal.
    Appl.* 34, 495-501) turns that into an equivalent chain in which all decisions last equally long.
    """
    mdpsolver = pytest.importorskip("mdpsolver")
    rng = np.random.default_rng(seed)
    sizes = (2, 4, 3, 5)
    process = StageProcess(
        transitions=tuple(rng.dirichlet(np.full(size, 0.3), n) for n, size in pairwise(sizes)),
        stage_costs=tuple(0.2 + rng.random(n) for n in sizes[:-1]),
        utility=rng.random(5) ** 8,
        initial=np.array([0.3, 0.7]),
        prompt_cost=0.1,
        exit_costs=tuple(rng.random(n) for n in sizes[:-1]),
        exit_utilities=tuple(0.3 * rng.random(n) ** 4 for n in sizes[:-1]),
    )
    rewards, chances = average_reward(process)
    model = mdpsolver.model()
    model.mdp(rewards=rewards, tranMatWithZeros=chances)
    model.solve(algorithm="pi", criterion="average", tolerance=1e-10)
    chosen, value = model.getPolicy(), np.array(model.getValueVector())
    best = solve(process)
    gain = [r[a] + q[a] @ value - v for r, q, a, v in zip(rewards, np.array(chances), chosen, value, strict=True)]
    np.testing.assert_allclose(gain, 1 / best.price, rtol=1e-6)
    by_checkpoint = np.split(np.array(chosen), np.cumsum(sizes)[:-1])[:-1]
    theirs = StagePolicy(tuple(1.0 * (a == 0) for a in by_checkpoint), tuple(1.0 * (a == 2) for a in by_checkpoint))
    assert evaluate(process, theirs).cost_per_accepted == pytest.approx(best.price, rel=1e-9)
    assert evaluate(process, theirs).discarded + evaluate(process, theirs).exited > 0


def average_reward(process: StageProcess) -> tuple[list[list[float]], list[list[list[float]]]]:
    """Rewards and transition probabilities of (state of any checkpoint) × (CONTINUE, DISCARD, EXIT).

    DISCARD, EXIT and finishing begin the next attempt and pay its prompt.
    """
    start = np.concatenate([[0], np.cumsum(process.sizes)])
    again = np.zeros(start[-1])
    again[: process.sizes[0]] = process.initial
    decisions: list[list[tuple[float, float, np.ndarray]]] = []
    for k in range(process.K):
        for s in range(process.sizes[k]):
            onward = np.zeros(start[-1])
            onward[start[k + 1] : start[k + 2]] = process.transitions[k][s]
            decisions.append(
                [
                    (0.0, process.stage_costs[k][s], onward),
                    (0.0, process.prompt_cost, again),
                    (process.exit_utilities[k][s], process.exit_costs[k][s] + process.prompt_cost, again),
                ]
            )
    decisions += [[(u, process.prompt_cost, again)] * 3 for u in process.utility]
    unit = 0.9 * min(time for options in decisions for _, time, _ in options)
    rewards = [[reward / time for reward, time, _ in options] for options in decisions]
    stay = np.eye(start[-1])
    chances = [
        [(stay[i] + unit / time * (onward - stay[i])).tolist() for _, time, onward in options]
        for i, options in enumerate(decisions)
    ]
    return rewards, chances
