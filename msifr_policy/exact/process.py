"""Finite stage processes: the model every exact computation of the decision core works on.

Model (theory §1). An attempt passes K stages. At **checkpoint** k = 0 … K (0 is the start, K the end) it is in one of
S_k states; a state stands for all that is known then, F_k. With

- P_k `[S_k, S_{k+1}]` the transition from checkpoint k to k + 1,
- c_k `[S_k]` = E[C_{k+1} | F_k], the expected cost of stage k + 1 in token-equivalents,
- C_0 the prompt cost, π `[S_0]` the initial distribution,
- U `[S_K]` the expected **utility** of a finished attempt (P(accepted | F_K) when U = A),
- X_k, e_k `[S_k]` the cost of EXIT at checkpoint k and the utility of what it forces out,

the two quantities that need no policy follow by backward recursion over checkpoints:

    M_K = U,   M_k = P_k M_{k+1}            conditional utility estimate, E[U | F_k]
    r_K = 0,   r_k = c_k + P_k r_{k+1}      expected remaining cost, E[Σ_{j>k} C_j | F_k]

Attempts that finish early sit in a state that leads to itself at zero cost (`pad`, `random_lengths`). Processes are
compiled from a Markov chain (`markov_chain`), a mixture over prompt difficulty (`mixture`), a tree (`exact.tree`), the
hazard model (`exact.hazard`), Gaussian evidence (`exact.gaussian`) and recorded evidence (`msifr_sim.empirical_chain`);
`exact.hidden` hides part of a state, `exact.prices` gives costs their unit. Reference: Puterman (2005), *Markov
Decision Processes*, chapter 4 (finite horizon).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from msifr_policy.errors import InputError

Vector: TypeAlias = npt.NDArray[np.float64]
Matrix: TypeAlias = Any  # a dense float64 array or a scipy.sparse CSR array (scipy ships no types)

SUM_TOLERANCE = 1e-9
"""How far probabilities may be from adding up to one."""

BLOCK_BYTES = 2**18
"""Rows read together in `pull` and `push`: they stay in a core's cache, and BLAS does not split them over threads."""


@dataclass(frozen=True, slots=True, eq=False)
class StageProcess:
    """A finite process of states × stages; see the module docstring for the symbols.

    transitions: K matrices P_k, dense or sparse (kept so, as CSR). stage_costs: K vectors c_k. utility: U. initial: π.
    prompt_cost: C_0. exit_costs, exit_utilities: K vectors X_k and e_k; a cost of `inf` where EXIT is not available,
    which is everywhere if both are left out.

    Raises `InputError`, naming stage, state and value: no stages or states, shapes that do not chain, rows that do not
    sum to one, negative or NaN probabilities, costs or utilities, acceptance that cannot be reached.
    """

    transitions: tuple[Matrix, ...]
    stage_costs: tuple[Vector, ...]
    utility: Vector
    initial: Vector
    prompt_cost: float = 0.0
    exit_costs: tuple[Vector, ...] = ()
    exit_utilities: tuple[Vector, ...] = ()
    _finished: Prospects = field(init=False, repr=False)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # a frozen record normalises its fields once

        matrices = {id(P): _matrix(P) for P in self.transitions}  # stages that share a matrix go on sharing it
        put("transitions", tuple(matrices[id(P)] for P in self.transitions))
        put("utility", _vector(self.utility))
        put("initial", _vector(self.initial))
        put("prompt_cost", float(self.prompt_cost))
        _check_transitions(self)
        as_vectors((self.initial,), self.sizes[:1], "initial")
        _check_distribution(self.initial, "initial distribution")
        check_number(self.prompt_cost, "prompt cost", where="StageProcess")
        check_values(self.utility, f"utility at checkpoint {self.K}, state {{}}")
        if not (self.exit_costs or self.exit_utilities):
            put("exit_costs", tuple(np.full(size, np.inf) for size in self.sizes[:-1]))
            put("exit_utilities", tuple(np.zeros(size) for size in self.sizes[:-1]))
        for name in ("stage_costs", "exit_costs", "exit_utilities"):
            put(name, as_vectors(map(_vector, getattr(self, name)), self.sizes[:-1], name))
            for k, values in enumerate(getattr(self, name)):
                check_values(values, f"{name} at checkpoint {k}, state {{}}", infinite=name == "exit_costs")
        put("_finished", _finish(self))
        _check_acceptance(self)

    @property
    def K(self) -> int:  # noqa: N802
        """Number of stages."""
        return len(self.transitions)

    @property
    def sizes(self) -> tuple[int, ...]:
        """S_0 … S_K, the number of states at each checkpoint."""
        return (*(P.shape[0] for P in self.transitions), self.utility.size)

    @property
    def has_exit(self) -> bool:
        """Whether EXIT is available anywhere."""
        return any(np.isfinite(x).any() for x in self.exit_costs)

    def __repr__(self) -> str:
        sizes = "×".join(map(str, self.sizes))
        return f"StageProcess(K={self.K}, states={sizes}, exit={self.has_exit})"


class Prospects(NamedTuple):
    """What each state promises if the attempt is finished, M_k [T4] and r_k [T3]; K + 1 vectors `[S_k]` each."""

    utility: tuple[Vector, ...]
    remaining_cost: tuple[Vector, ...]


def prospects(process: StageProcess) -> Prospects:
    """Return M_k and r_k of every state, computed once when the process was made."""
    return process._finished


def reach(process: StageProcess) -> tuple[Vector, ...]:
    """Return K + 1 vectors `[S_k]`: the probability of each state when nothing is ever stopped."""
    return tuple(accumulate(process.transitions, push, initial=process.initial))


def pull(P: Matrix, values: Vector, *, block_bytes: int = BLOCK_BYTES) -> Vector:
    """Return P @ values for values `[S_{k+1}, L]`: expectations at checkpoint k of what is known at k + 1.

    Few columns are limited by reading P from memory, so a dense P is read once, in blocks of rows small enough to stay
    in cache while each column is multiplied: the blocks are the outer axis of one product.
    """
    if sp.issparse(P) or values.shape[1] > 4 or P.nbytes <= block_bytes:
        return np.asarray(P @ values)
    n, size = P.shape
    rows = max(1, block_bytes // (size * P.itemsize))
    whole = n - n % rows
    columns = np.ascontiguousarray(values.T)[:, :, None]
    products = P[:whole].reshape(-1, 1, rows, size) @ columns  # [blocks, columns, rows, 1]
    out = np.empty((n, values.shape[1]))
    out[:whole] = products[..., 0].swapaxes(1, 2).reshape(whole, -1)
    out[whole:] = P[whole:] @ values
    return out


def push(mass: Vector, P: Matrix, *, block_bytes: int = BLOCK_BYTES) -> Vector:
    """Return mass @ P for mass `[S_k]`: where the attempts at checkpoint k are at checkpoint k + 1."""
    if sp.issparse(P):
        return np.asarray(P.T @ mass)
    out, step = np.zeros(P.shape[1]), max(1, block_bytes // (P.shape[1] * P.itemsize))
    for start in range(0, P.shape[0], step):
        rows = slice(start, start + step)
        out += mass[rows] @ P[rows]
    return out


def at_end(process: StageProcess) -> Vector:
    """Return `[S_K, 2]`, utility and cost of what is finished: where backward recursions with `go_on` begin."""
    return np.column_stack([process.utility, np.zeros(process.utility.size)])


def go_on(process: StageProcess, k: int, onward: Vector) -> Vector:
    """Return `[S_k, 2L]`, L utilities and then L costs in tokens of CONTINUE at k; onward: the same from k + 1 on."""
    both = pull(process.transitions[k], onward)
    both[:, both.shape[1] // 2 :] += process.stage_costs[k][:, None]
    return both


def markov_chain(
    transition: Matrix,
    stage_cost: npt.ArrayLike,
    utility: npt.ArrayLike,
    initial: npt.ArrayLike,
    *,
    stages: int,
    prompt_cost: float = 0.0,
) -> StageProcess:
    """Return the process that runs one Markov chain for a number of stages (theory §4).

    transition: `[S, S]`, the one matrix of all stages. stage_cost: `[S]` tokens. utility, initial: `[S]`. Raises
    `InputError` as `StageProcess` does.
    """
    if stages < 1:
        raise InputError(f"{stages} stages", where="markov_chain", remedy="give at least one stage")
    costs = (np.asarray(stage_cost, float),) * stages
    return StageProcess((transition,) * stages, costs, np.asarray(utility), np.asarray(initial), prompt_cost)


def mixture(weights: npt.ArrayLike, processes: Sequence[StageProcess]) -> StageProcess:
    """Return the process that draws a class (a prompt difficulty, say) and then runs the process of that class.

    weights: `[n]`, probabilities of the classes. The state is (class, state of that class), in blocks in the order
    given, so the class is **observed**. To hide it, pass the result to `msifr_policy.exact.hidden.hide` with labels
    that do not tell classes apart. Processes of fewer stages are padded; the prompt cost is the weighted mean.

    Raises `InputError` for weights that are no distribution and processes that do not fit together.
    """
    w = _vector(weights)
    if w.size != len(processes):
        raise InputError(f"{w.size} weights for {len(processes)} processes", where="mixture")
    _check_distribution(w, "mixture weights")
    stages = max(process.K for process in processes)
    padded = [pad(process, stages) for process in processes]

    def joined(name: str, join: Any = np.concatenate) -> tuple[Any, ...]:
        return tuple(map(join, zip(*(getattr(process, name) for process in padded), strict=True)))

    return StageProcess(
        transitions=joined("transitions", partial(sp.block_diag, format="csr")),
        stage_costs=joined("stage_costs"),
        utility=np.concatenate([process.utility for process in padded]),
        initial=np.concatenate([p * process.initial for p, process in zip(w, padded, strict=True)]),
        prompt_cost=float(sum(p * process.prompt_cost for p, process in zip(w, padded, strict=True))),
        exit_costs=joined("exit_costs"),
        exit_utilities=joined("exit_utilities"),
    )


def pad(process: StageProcess, stages: int) -> StageProcess:
    """Return the process with stages of zero cost after its last, in which finished attempts wait (theory §1).

    Raises `InputError` for fewer stages than the process has.
    """
    more = stages - process.K
    if more < 0:
        raise InputError(f"{stages} stages for a process of {process.K}", where="pad", remedy="at least as many")
    size = process.utility.size
    nothing, never = (np.zeros(size),) * more, (np.full(size, np.inf),) * more
    return replace(
        process,
        transitions=process.transitions + (sp.eye_array(size, format="csr"),) * more,
        stage_costs=process.stage_costs + nothing,
        exit_costs=process.exit_costs + never,
        exit_utilities=process.exit_utilities + nothing,
    )


def random_lengths(process: StageProcess, finishing: Sequence[npt.ArrayLike]) -> StageProcess:
    """Return the process whose attempts may be finished before stage K.

    finishing: K − 1 vectors `[S_k]` for k = 1 … K − 1, the probability that an attempt which arrives at checkpoint k in
    this state turns out to be finished there. It then costs nothing more and its utility is on average what it would
    have been: length says nothing that the state does not. M_k of the unfinished states stays as it is.

    From checkpoint 1 on two states follow the S_k unfinished ones: finished with utility 0 and finished with the
    largest utility of `process`, the two ends between which any mean can be drawn. Raises `InputError`, naming
    checkpoint and state, for what are no probabilities.
    """
    start, *_, end = process.sizes
    shares = as_vectors((np.zeros(start), *finishing), process.sizes[:-1], "finishing")
    best = process.utility.max()
    transitions: list[Matrix] = []
    M = prospects(process).utility
    for k, (P, share) in enumerate(zip(process.transitions, (*shares[1:], np.zeros(end)), strict=True)):
        wrong = ~((share >= 0) & (share <= 1))
        if wrong.any():
            s = int(np.argmax(wrong))
            raise InputError(f"probability {share[s]:g} of finishing", where=f"checkpoint {k + 1}, state {s}")
        accepted = share * np.minimum(1.0, M[k + 1] / best)  # M is at most the best up to rounding
        ends = pull(P, np.column_stack([share - accepted, accepted]))
        waiting = [] if k == 0 else [[np.zeros((2, P.shape[1])), np.eye(2)]]
        join = partial(sp.block_array, format="csr") if sp.issparse(P) else np.block
        transitions.append(join([[P * (1 - share), ends], *waiting]))

    def longer(vectors: tuple[Vector, ...], fill: float) -> tuple[Vector, ...]:
        return tuple(v if k == 0 else np.append(v, [fill, fill]) for k, v in enumerate(vectors))

    return replace(
        process,
        transitions=tuple(transitions),
        stage_costs=longer(process.stage_costs, 0.0),
        utility=np.append(process.utility, [0.0, best]),
        exit_costs=longer(process.exit_costs, np.inf),
        exit_utilities=longer(process.exit_utilities, 0.0),
    )


def check_number(value: Any, name: str, *, where: str, most: float | None = None) -> None:
    """Raise `InputError` unless 0 ≤ value ≤ `most`, or the value is finite and ≥ 0."""
    if not (0 <= value < np.inf if most is None else 0 <= value <= most):
        raise InputError(f"{name} {value}", where=where, remedy="finite and >= 0" if most is None else f"0 … {most}")


def check_values(values: Vector, where: str, *, infinite: bool = False) -> None:
    """Raise `InputError` unless all values are ≥ 0, and finite unless they may be `infinite`.

    where: what to call the i-th value, a template for i.
    """
    wrong = np.flatnonzero(~((values >= 0) & (infinite | np.isfinite(values))))
    if wrong.size:
        remedy = "must be >= 0" if infinite else "must be finite and >= 0"
        raise InputError(f"value {values.flat[wrong[0]]:g}", where=where.format(wrong[0]), remedy=remedy)


def as_vectors(given: Iterable[Any], sizes: Sequence[int], name: str, dtype: Any = float) -> tuple[Any, ...]:
    """Return what is given as vectors, one per checkpoint. Raises `InputError` unless they have these sizes."""
    vectors = tuple(np.asarray(values, dtype) for values in given)
    if len(vectors) != len(sizes):
        raise InputError(f"{len(vectors)} vectors for {len(sizes)} checkpoints", where=name)
    for k, (vector, size) in enumerate(zip(vectors, sizes, strict=True)):
        if vector.shape != (size,):
            raise InputError(f"{name} of shape {vector.shape}, expected ({size},)", where=f"checkpoint {k}")
    return vectors


def _matrix(P: Matrix) -> Matrix:
    if sp.issparse(P):
        return sp.csr_array(P, dtype=np.float64)
    view = np.asarray(P, dtype=np.float64, order="C").view()  # rows in one piece, for `pull`
    view.flags.writeable = False
    return view


def _vector(values: npt.ArrayLike) -> Vector:
    vector = np.array(values, dtype=np.float64)
    vector.flags.writeable = False
    return vector


def _check_transitions(process: StageProcess) -> None:
    if not process.transitions:
        raise InputError("no stages", where="StageProcess", remedy="give at least one transition matrix")
    checked: set[int] = set()
    for k, P in enumerate(process.transitions):
        if P.ndim != 2:
            raise InputError(f"a transition of shape {P.shape}", where=f"stage {k + 1}", remedy="[S_k, S_{k+1}]")
        if 0 in P.shape:
            raise InputError("no states", where=f"checkpoint {k if P.shape[0] == 0 else k + 1}")
        if id(P) not in checked:
            check_rows(P, k)
            checked.add(id(P))
    for k, (P, size) in enumerate(zip(process.transitions, process.sizes[1:], strict=True), start=1):
        if P.shape[1] != size:
            raise InputError(f"leads to {P.shape[1]} states but checkpoint {k} has {size}", where=f"stage {k}")


def _check_acceptance(process: StageProcess) -> None:
    if not process.initial @ process._finished.utility[0] > 0:
        s = int(np.argmax(process.utility))
        best = f"the best state has utility {process.utility[s]:g}, probability {reach(process)[-1][s]:g}"
        where = f"checkpoint {process.K}, state {s}"
        raise InputError(f"acceptance cannot be reached: {best}", where=where, remedy="make a useful state reachable")


def _finish(process: StageProcess) -> Prospects:
    backward = [at_end(process)]
    for k in reversed(range(process.K)):
        backward.append(go_on(process, k, backward[-1]))
    return Prospects(*zip(*(both.T for both in reversed(backward)), strict=True))


def check_rows(P: Matrix, k: int) -> None:
    """Raise `InputError`, naming stage k + 1 and the state, unless the rows of P are distributions."""
    lowest = P.data.min(initial=0.0) if sp.issparse(P) else P.min()
    sums = np.asarray(P.sum(axis=1)).ravel()
    wrong = ~(np.abs(sums - 1) <= SUM_TOLERANCE)
    if wrong.any():
        s = int(np.argmax(wrong))
        where = f"stage {k + 1}, state {s}"
        raise InputError(f"transition probabilities sum to {sums[s]:g}", where=where, remedy="must be 1")
    if lowest < 0:
        negative = sp.coo_array(P)
        i = int(np.argmin(negative.data))
        s, target = (int(index[i]) for index in negative.coords)
        where = f"stage {k + 1}, state {s}"
        raise InputError(f"probability {negative.data[i]:g} of reaching state {target}", where=where)


def _check_distribution(p: Vector, name: str) -> None:
    check_values(p, f"{name}, state {{}}")
    if not abs(p.sum() - 1) <= SUM_TOLERANCE:
        raise InputError(f"probabilities sum to {p.sum():g}", where=name, remedy="must be 1")
