"""Speed of the decision core: `python -m benchmarks.core [--json] [--quick] [--save]`.

Dense backward induction against the memory bandwidth of this machine (every pass must read the transitions),
Dinkelbach's steps, another library on the same chain, sparse chains, and a frontier against single solves.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import scipy.sparse as sp

from benchmarks._records import Record, environment, print_records, save_records
from msifr_policy.exact.optimum import frontier, solve, solve_prices
from msifr_policy.exact.process import StageProcess, markov_chain, pull

if TYPE_CHECKING:
    from quantecon.markov.ddp import DiscreteDP

PRICE = 60.0  # tokens per unit of utility, where a single price is enough


def main() -> None:
    """Run all measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a JSON list of records last")
    parser.add_argument("--quick", action="store_true", help="a small problem, to see that it runs; no targets")
    parser.add_argument("--traces", metavar="FOLDER", help="accepted by every benchmark; this one reads no traces")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/core.json")
    options = parser.parse_args()
    K, S = (6, 512) if options.quick else (16, 2048)
    process = dense_process(K, S, np.random.default_rng(0))
    packages = [name for name in ("numpy", "scipy", "quantecon") if find_spec(name)]
    records = [
        *environment(*packages),
        *bandwidth(process),
        *optimum(process),
        *frontier_cost(process, 20 if options.quick else 200),
        *against_quantecon(process),
        *sparse(K, S * 8),
    ]
    if options.quick:  # small problems live in cache: their speeds say nothing about the targets
        records = [msgspec.structs.replace(record, target="", ok=None) for record in records]
    if options.save:
        save_records(records, "core")
    print_records(records, options.json)


def bandwidth(process: StageProcess) -> list[Record]:
    """One pass of backward induction (pairs of utility and tokens) against reading the same bytes."""
    size = sum(P.nbytes for P in process.transitions)
    flat = [P.ravel() for P in process.transitions]
    one = np.ones((process.utility.size, 1))
    both = np.column_stack([process.utility, np.zeros(process.utility.size)])
    *reads, one_pass, induction = race(
        lambda: [array.sum() for array in flat],
        lambda: [pull(P, one) for P in process.transitions],
        lambda: [pull(P, both) for P in process.transitions],
        lambda: solve_prices(process, [10.0]),
        repeats=10,
    )
    plain = fastest(lambda: [P @ both for P in process.transitions])  # apart: BLAS threads spin on after it
    machine = min(*reads, one_pass)
    share = machine / induction
    return [
        Record("machine: read bandwidth, fastest kernel", size / machine / 1e9, "GB/s"),
        Record("transition read, plain product", machine / plain, "of machine"),
        Record("transition read, blocked product", machine / one_pass, "of machine"),
        Record("transition read, whole induction", share, "of machine", ">= 0.5", "fastest read", share >= 0.5),
    ]


def optimum(process: StageProcess) -> list[Record]:
    """Dinkelbach's method from ρ_full."""
    found = solve(process)
    seconds = fastest(lambda: solve(process))
    gap = abs(found.residual) / found.price
    return [
        Record("Dinkelbach steps", found.iterations, "steps", "<= 10", "", found.iterations <= 10),
        Record("Dinkelbach residual F(λ*)/λ*", gap, "utility", "<= 1e-10", "", gap <= 1e-10),
        Record("solve (optimum with proof)", seconds, "s"),
    ]


def frontier_cost(process: StageProcess, points: int) -> list[Record]:
    """A frontier of many points against ten single solves."""
    found = frontier(process, max_points=points)
    prices = np.geomspace(2, 1, points) * found.prices[-1]
    single, seconds, grid = race(
        lambda: solve(process),
        lambda: frontier(process, max_points=points),
        lambda: solve_prices(process, prices),
        repeats=2,
    )
    return [
        Record(
            f"frontier of {found.prices.size} vertices",
            seconds / (10 * single),
            "of 10 solves",
            "<= 3",
            "",
            seconds <= 30 * single,
        ),
        Record(
            f"path over {points} prices",
            grid / (10 * single),
            "of 10 solves",
            "<= 3",
            "",
            grid <= 30 * single,
        ),
    ]


def against_quantecon(process: StageProcess) -> list[Record]:
    """The same process and price by quantecon's finite-horizon backward induction, in the forms it offers.

    It knows homogeneous chains only, so a chain whose transitions differ by stage, the one all of this is about, has to
    carry the stage in the state, as sparse state-action pairs: every one of its K steps multiplies all K matrices.
    A homogeneous chain gives it no such handicap, and it gets no target: both read the same matrix in every step
    (quantecon's dense array has a second action, twice the bytes; its sparse one 12 bytes per entry for 8), so no more
    than a factor of two can come of reading less. Those numbers are recorded for what they are.
    """
    target = ">= 10"
    if not find_spec("quantecon"):
        return [Record("induction, times faster (staged)", "skipped", "x", target, "quantecon, not installed")]
    K, S = process.K, process.utility.size
    rng = np.random.default_rng(1)
    same = markov_chain(transition(S, S, rng), rng.random(S), rng.random(S) ** 4, np.full(S, 1 / S), stages=K)
    return [
        *compare("homogeneous, dense", same, *dense_problem(same), target=""),
        *compare("homogeneous, sparse", same, *staged_problem(same, layers=1), target=""),
        *compare("staged", process, *staged_problem(process, layers=K), target=target),
    ]


def compare(
    name: str, process: StageProcess, problem: DiscreteDP, terminal: np.ndarray, *, target: str
) -> list[Record]:
    """One fixed price: seconds and values, ours and the peer's."""
    from quantecon.markov.ddp import backward_induction

    ours = solve_prices(process, [PRICE])
    value = PRICE * ours.utility_kept[0] - ours.tokens[0] + process.prompt_cost
    values, _ = backward_induction(problem, process.K, terminal)
    seconds, peer = race(
        lambda: solve_prices(process, [PRICE]), lambda: backward_induction(problem, process.K, terminal), repeats=3
    )
    gap = float(abs(value - process.initial @ values[0][: process.initial.size]))
    ratio, by = peer / seconds, f"quantecon, {name}"
    return [
        Record(f"induction, times faster ({name})", ratio, "x", target, by, ratio >= 10 if target else None),
        Record(f"difference of values ({name})", gap, "tokens", "<= 1e-10", by, gap <= 1e-10),
    ]


def dense_problem(process: StageProcess) -> tuple[DiscreteDP, np.ndarray]:
    """A homogeneous chain as quantecon's dense arrays; state S is absorbing, action 1 discards."""
    S = process.utility.size
    Q, R = np.zeros((S + 1, 2, S + 1)), np.zeros((S + 1, 2))
    Q[:S, 0, :S] = process.transitions[0]
    Q[:S, 1, S] = Q[S, :, S] = 1
    R[:S, 0] = -process.stage_costs[0]
    return problem(R, Q), np.append(PRICE * process.utility, 0.0)


def staged_problem(process: StageProcess, *, layers: int) -> tuple[DiscreteDP, np.ndarray]:
    """Sparse state-action pairs, one layer of states per stage and one for the end or, if homogeneous, one for all.

    State n is absorbing; every other one has the pairs CONTINUE, to the next layer, and DISCARD, to n. The arrays are
    filled in place: at K = 16, S = 2048 they have 67 million entries.
    """
    S, staged = process.utility.size, layers > 1
    n = S * (layers + staged)
    onward = np.empty((layers, S, S + 1))
    columns = np.empty((layers, S, S + 1), np.int32)
    for k in range(layers):
        onward[k, :, :S], onward[k, :, S] = process.transitions[k], 1
        columns[k, :, :S], columns[k, :, S] = (k + staged) * S + np.arange(S), n
    end = np.arange(layers * S, n, dtype=np.int32)  # finished attempts stay where they are
    data = np.concatenate([onward.ravel(), np.ones(2 * end.size + 1)])
    indices = np.concatenate(
        [columns.ravel(), np.column_stack([end, np.full(end.size, n)]).ravel(), [n]], dtype=np.int32
    )
    entries = np.ones(2 * n + 1, np.int64)
    entries[: 2 * layers * S : 2] = S
    pairs = sp.csr_matrix((data, indices, np.concatenate([[0], entries.cumsum()])), shape=(2 * n + 1, n + 1))
    R = np.zeros(2 * n + 1)
    R[: 2 * layers * S : 2] = -np.concatenate(process.stage_costs[:layers])
    states, actions = np.divmod(np.arange(2 * n + 1), 2)
    actions[-1] = 1
    terminal = np.zeros(n + 1)
    terminal[n - S : n] = PRICE * process.utility
    return problem(R, pairs, states, actions), terminal


def problem(*arrays: object) -> DiscreteDP:
    """A quantecon problem without discounting."""
    from quantecon.markov.ddp import DiscreteDP

    R, Q, *pairs = arrays
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # beta = 1 rules infinite horizons out; this one is finite
        return DiscreteDP(R, Q, 1.0, *pairs)


def sparse(K: int, S: int) -> list[Record]:
    """A banded chain: memory stays near that of its non-zeros."""
    rng = np.random.default_rng(2)
    offsets = range(-2, 3)
    bands = [rng.random(S) for _ in offsets]
    banded = sp.csr_array(sp.dia_array((np.array(bands), list(offsets)), shape=(S, S)))
    banded = sp.csr_array(sp.diags_array(1 / np.asarray(banded.sum(axis=1)).ravel()) @ banded)
    chain = markov_chain(banded, rng.random(S), rng.random(S), np.full(S, 1 / S), stages=K)
    tracemalloc.start()
    solve(chain)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    share = peak / (8 * S * S)
    return [
        Record(f"banded chain {K} x {S}: solve", fastest(lambda: solve(chain), 2), "s"),
        Record("its peak memory", share, "of one dense", "<= 0.05", "", share <= 0.05),
    ]


def dense_process(K: int, S: int, rng: np.random.Generator) -> StageProcess:
    """A dense chain whose states carry information: state s is worth about s/S, and drifts."""
    quality = np.linspace(0, 1, S)
    return StageProcess(
        transitions=tuple(transition(S, S, rng) for _ in range(K)),
        stage_costs=tuple(0.5 + rng.random(S) for _ in range(K)),
        utility=quality**3,
        initial=np.full(S, 1 / S),
        prompt_cost=1.0,
    )


def transition(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A dense transition `[n, size]`, mostly to states nearby."""
    distance = np.abs(np.linspace(0, 1, n)[:, None] - np.linspace(0, 1, size))
    P = np.exp(-20 * distance) * rng.random((n, size)) + 1e-6
    return P / P.sum(axis=1, keepdims=True)


def fastest(call: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of some calls, after one to warm up."""
    return race(call, repeats=repeats)[0]


def race(*calls: Callable[[], object], repeats: int = 5) -> list[float]:
    """Seconds of the fastest run of each call, taking turns so that all see the same load of the machine."""
    for call in calls:
        call()
    times = []
    for _ in range(repeats):
        turn = []
        for call in calls:
            start = time.perf_counter()
            call()
            turn.append(time.perf_counter() - start)
        times.append(turn)
    return np.min(times, axis=0).tolist()


if __name__ == "__main__":
    main()
