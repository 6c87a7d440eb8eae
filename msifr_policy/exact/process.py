"""Finite stage processes: the model every exact computation of the decision core works on.

Model (theory §1). An attempt passes K stages. At **checkpoint** k = 0 … K (0 is the start, K the end) it is
in one of S_k states; a state stands for all that is known then, F_k. With

- P_k `[S_k, S_{k+1}]` the transition from checkpoint k to k + 1,
- c_k `[S_k]` = E[C_{k+1} | F_k], the expected cost of stage k + 1 in token-equivalents,
- C_0 the prompt cost, π `[S_0]` the initial distribution,
- U `[S_K]` the expected **utility** of a finished attempt (P(accepted | F_K) when U = A),
- X_k, e_k `[S_k]` the cost of EXIT at checkpoint k and the utility of what it forces out (optional),

the two quantities that need no policy follow by backward recursion over checkpoints:

    M_K = U,   M_k = P_k M_{k+1}            conditional utility estimate, E[U | F_k]
    r_K = 0,   r_k = c_k + P_k r_{k+1}      expected remaining cost, E[Σ_{j>k} C_j | F_k]

Attempts that finish early sit in a state that leads to itself at zero cost (`pad`, `random_lengths`). Processes are
compiled from a Markov chain (`markov_chain`), a mixture over prompt difficulty (`mixture`), a tree
(`exact.tree`), the hazard model (`exact.hazard`), Gaussian evidence (`exact.gaussian`) and
recorded evidence (`msifr_sim.empirical_chain`); `exact.hidden` hides part of a state, `exact.prices`
gives costs their unit. Reference: Puterman (2005), *Markov Decision Processes*, chapter 4 (finite horizon).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from msifr_policy.errors import InputError

__all__ = ["Prospects", "StageProcess", "markov_chain", "mixture", "pad", "prospects", "random_lengths", "reach"]

Vector: TypeAlias = npt.NDArray[np.float64]
Matrix: TypeAlias = Any  # a dense float64 array or a scipy.sparse CSR array (scipy ships no types)

SUM_TOLERANCE = 1e-9
"""How far probabilities may be from adding up to one."""

_BLOCK_BYTES = 2**18
"""Rows read together in `pull` and `push`: they stay in a core's cache, and BLAS does not split them over threads."""


@dataclass(frozen=True, slots=True, eq=False)
class StageProcess:
    """A finite process of states × stages; see the module docstring for the symbols.

    transitions: K matrices `[S_k, S_{k+1}]`, rows summing to one; dense or sparse (kept as they are, never
        densified; CSR for sparse ones).
    stage_costs: K vectors `[S_k]`, expected tokens of stage k + 1 from each state.
    utility: `[S_K]` ≥ 0, utility of a finished attempt.
    initial: `[S_0]`, distribution over states at checkpoint 0.
    prompt_cost: tokens paid before checkpoint 0.
    exit_costs, exit_utilities: empty (no EXIT), or K vectors `[S_k]` each: tokens and utility of EXIT. Where
        EXIT is not available its cost is `inf`.

    Raises `InputError`, naming stage, state and value: no stages or states, shapes that do not chain, rows
    that do not sum to one, negative or NaN probabilities, costs or utilities, acceptance that cannot be
    reached.
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
        put("stage_costs", tuple(_vector(c) for c in self.stage_costs))
        put("utility", _vector(self.utility))
        put("initial", _vector(self.initial))
        put("prompt_cost", float(self.prompt_cost))
        put("exit_costs", tuple(_vector(x) for x in self.exit_costs))
        put("exit_utilities", tuple(_vector(e) for e in self.exit_utilities))
        _check_shapes(self)
        _check_values(self)
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
        return bool(self.exit_costs)

    def __repr__(self) -> str:
        sizes = "×".join(map(str, self.sizes))
        return f"StageProcess(K={self.K}, states={sizes}, exit={self.has_exit})"


@dataclass(frozen=True, slots=True, eq=False)
class Prospects:
    """What each state promises if the attempt is finished [T4], [T3]; K + 1 vectors `[S_k]` each.

    utility: M_k = E[U | F_k].
    remaining_cost: r_k = E[Σ_{j>k} C_j | F_k] in tokens.
    """

    utility: tuple[Vector, ...]
    remaining_cost: tuple[Vector, ...]


def prospects(process: StageProcess) -> Prospects:
    """Return M_k and r_k of every state, computed once when the process was made."""
    return process._finished


def reach(process: StageProcess) -> tuple[Vector, ...]:
    """Return K + 1 vectors `[S_k]`: the probability of each state when nothing is ever stopped."""
    masses = [process.initial]
    for P in process.transitions:
        masses.append(push(masses[-1], P))
    return tuple(masses)


def pull(P: Matrix, values: Vector) -> Vector:
    """Return P @ values for values `[S_{k+1}, L]`: expectations at checkpoint k of what is known at k + 1.

    Few columns are limited by reading P from memory, so a dense P is read once, in blocks of rows small
    enough to stay in cache while each column is multiplied: the blocks are the outer axis of one product.
    """
    if sp.issparse(P) or values.shape[1] > 4 or P.nbytes <= _BLOCK_BYTES:
        return np.asarray(P @ values)
    n, size = P.shape
    rows = _rows_per_block(P)
    whole = n - n % rows
    columns = np.ascontiguousarray(values.T)[:, :, None]
    products = P[:whole].reshape(-1, 1, rows, size) @ columns  # [blocks, columns, rows, 1]
    out = np.empty((n, values.shape[1]))
    out[:whole] = products[..., 0].swapaxes(1, 2).reshape(whole, -1)
    out[whole:] = P[whole:] @ values
    return out


def push(mass: Vector, P: Matrix) -> Vector:
    """Return mass @ P for mass `[S_k]`: where the attempts at checkpoint k are at checkpoint k + 1."""
    if sp.issparse(P):
        return np.asarray(P.T @ mass)
    if P.nbytes <= _BLOCK_BYTES:
        return np.asarray(mass @ P)
    out, step = np.zeros(P.shape[1]), _rows_per_block(P)
    for start in range(0, P.shape[0], step):
        rows = slice(start, start + step)
        out += mass[rows] @ P[rows]
    return out


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

    transition: `[S, S]`, the same in every stage. stage_cost: `[S]` tokens. utility, initial: `[S]`. All
    stages share the one matrix; nothing is copied. Raises `InputError` as `StageProcess` does.
    """
    if stages < 1:
        raise InputError(f"{stages} stages", where="markov_chain", remedy="give at least one stage")
    c = _vector(stage_cost)
    return StageProcess((transition,) * stages, (c,) * stages, _vector(utility), _vector(initial), prompt_cost)


def mixture(weights: npt.ArrayLike, processes: Sequence[StageProcess]) -> StageProcess:
    """Return the process that draws a class (a prompt difficulty, say) and then runs the process of that
    class.

    weights: `[n]`, probabilities of the classes. The state is (class, state of that class), in blocks in the
    order given, so the class is **observed**. To hide it, pass the result to `msifr_policy.exact.hidden.hide` with
    labels that do not tell classes apart. Processes of fewer stages are padded; the prompt cost is the weighted
    mean.

    Raises `InputError` for weights that are no distribution and processes that do not fit together.
    """
    w = _vector(weights)
    if w.size != len(processes):
        raise InputError(f"{w.size} weights for {len(processes)} processes", where="mixture")
    _check_distribution(w, "mixture weights")
    K = max(process.K for process in processes)
    processes = [pad(process, K) for process in processes]
    blocks = [sp.block_diag([process.transitions[k] for process in processes], format="csr") for k in range(K)]
    with_exit = any(process.has_exit for process in processes)

    def exits(name: str, missing: float) -> tuple[Vector, ...]:
        rows = [
            getattr(process, name) or tuple(np.full(size, missing) for size in process.sizes[:-1])
            for process in processes
        ]
        return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True)) if with_exit else ()

    return StageProcess(
        transitions=tuple(sp.csr_array(block) for block in blocks),
        stage_costs=tuple(np.concatenate([process.stage_costs[k] for process in processes]) for k in range(K)),
        utility=np.concatenate([process.utility for process in processes]),
        initial=np.concatenate([p * process.initial for p, process in zip(w, processes, strict=True)]),
        prompt_cost=float(sum(p * process.prompt_cost for p, process in zip(w, processes, strict=True))),
        exit_costs=exits("exit_costs", np.inf),
        exit_utilities=exits("exit_utilities", 0.0),
    )


def pad(process: StageProcess, stages: int) -> StageProcess:
    """Return the process with stages of zero cost after its last, in which finished attempts wait (theory §1).

    Raises `InputError` for fewer stages than the process has.
    """
    more = stages - process.K
    if more < 0:
        raise InputError(f"{stages} stages for a process of {process.K}", where="pad", remedy="at least as many")
    size = process.utility.size
    stay = sp.eye_array(size, format="csr")
    nothing, never = (np.zeros(size),) * more, (np.full(size, np.inf),) * more
    return StageProcess(
        transitions=process.transitions + (stay,) * more,
        stage_costs=process.stage_costs + nothing,
        utility=process.utility,
        initial=process.initial,
        prompt_cost=process.prompt_cost,
        exit_costs=process.exit_costs + never if process.has_exit else (),
        exit_utilities=process.exit_utilities + nothing if process.has_exit else (),
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
    shares = (np.zeros(start), *(_vector(share) for share in finishing), np.zeros(end))
    _check_lengths("finishing", shares[:-1], process.sizes[:-1])
    best = process.utility.max()
    transitions: list[Matrix] = []
    for k, (P, share, M) in enumerate(
        zip(process.transitions, shares[1:], prospects(process).utility[1:], strict=True)
    ):
        wrong = ~((share >= 0) & (share <= 1))
        if wrong.any():
            s = int(np.argmax(wrong))
            raise InputError(f"probability {share[s]:g} of finishing", where=f"checkpoint {k + 1}, state {s}")
        accepted = share * np.minimum(1.0, M / best)  # M is at most the best up to rounding
        ends = pull(P, np.column_stack([share - accepted, accepted]))
        waiting = [] if k == 0 else [[np.zeros((2, P.shape[1])), np.eye(2)]]
        if sp.issparse(P):
            rows = [[P @ sp.diags_array(1 - share), ends], *waiting]
            transitions.append(sp.block_array([[sp.csr_array(block) for block in row] for row in rows], format="csr"))
        else:
            transitions.append(np.block([[P * (1 - share), ends], *waiting]))

    def longer(vectors: tuple[Vector, ...], fill: float) -> tuple[Vector, ...]:
        return tuple(v if k == 0 else np.append(v, [fill, fill]) for k, v in enumerate(vectors))

    return StageProcess(
        transitions=tuple(transitions),
        stage_costs=longer(process.stage_costs, 0.0),
        utility=np.append(process.utility, [0.0, best]),
        initial=process.initial,
        prompt_cost=process.prompt_cost,
        exit_costs=longer(process.exit_costs, np.inf),
        exit_utilities=longer(process.exit_utilities, 0.0),
    )


def _rows_per_block(P: Matrix) -> int:
    return max(1, _BLOCK_BYTES // int(P.shape[1] * P.itemsize))


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


def _check_shapes(process: StageProcess) -> None:
    if not process.transitions:
        raise InputError("no stages", where="StageProcess", remedy="give at least one transition matrix")
    for k, P in enumerate(process.transitions):
        if P.ndim != 2:
            raise InputError(f"a transition of shape {P.shape}", where=f"stage {k + 1}", remedy="[S_k, S_{k+1}]")
    sizes = process.sizes
    for k, P in enumerate(process.transitions):
        if 0 in P.shape:
            raise InputError("no states", where=f"checkpoint {k if P.shape[0] == 0 else k + 1}")
        if P.shape[1] != sizes[k + 1]:
            raise InputError(
                f"leads to {P.shape[1]} states but checkpoint {k + 1} has {sizes[k + 1]}",
                where=f"stage {k + 1}",
            )
    _check_lengths("initial", (process.initial,), sizes[:1])
    _check_lengths("stage cost", process.stage_costs, sizes[:-1])
    if process.exit_costs or process.exit_utilities:
        _check_lengths("exit cost", process.exit_costs, sizes[:-1])
        _check_lengths("exit utility", process.exit_utilities, sizes[:-1])


def _check_lengths(name: str, vectors: tuple[Vector, ...], sizes: tuple[int, ...]) -> None:
    if len(vectors) != len(sizes):
        raise InputError(f"{len(vectors)} {name} vectors for {len(sizes)} checkpoints", where="StageProcess")
    for k, (vector, size) in enumerate(zip(vectors, sizes, strict=True)):
        if vector.shape != (size,):
            raise InputError(f"{name} has shape {vector.shape}, expected ({size},)", where=f"checkpoint {k}")


def _check_values(process: StageProcess) -> None:
    _check_distribution(process.initial, "initial distribution")
    if not 0 <= process.prompt_cost < np.inf:
        raise InputError(f"prompt cost {process.prompt_cost}", where="StageProcess", remedy="tokens, finite and >= 0")
    checked: set[int] = set()
    for k, (P, c) in enumerate(zip(process.transitions, process.stage_costs, strict=True)):
        if id(P) not in checked:
            _check_rows(P, k)
            checked.add(id(P))
        _check_nonnegative(c, f"cost of stage {k + 1}")
    _check_nonnegative(process.utility, f"utility at checkpoint {process.K}")
    for k, (x, e) in enumerate(zip(process.exit_costs, process.exit_utilities, strict=True)):
        _check_nonnegative(x, f"exit cost at checkpoint {k}", infinite=True)
        _check_nonnegative(e, f"exit utility at checkpoint {k}")


def _check_acceptance(process: StageProcess) -> None:
    if not process.initial @ process._finished.utility[0] > 0:
        s = int(np.argmax(process.utility))
        raise InputError(
            f"acceptance cannot be reached: the best state has utility {process.utility[s]:g}, probability "
            f"{reach(process)[-1][s]:g}",
            where=f"checkpoint {process.K}, state {s}",
            remedy="some state with positive utility must be reachable from the start",
        )


def _finish(process: StageProcess) -> Prospects:
    both = np.column_stack([process.utility, np.zeros(process.utility.size)])
    backward = [both]
    for P, c in zip(reversed(process.transitions), reversed(process.stage_costs), strict=True):
        both = pull(P, both)
        both[:, 1] += c
        backward.append(both)
    backward.reverse()
    return Prospects(tuple(b[:, 0] for b in backward), tuple(b[:, 1] for b in backward))


def _check_rows(P: Matrix, k: int) -> None:
    lowest = P.data.min(initial=0.0) if sp.issparse(P) else P.min()
    sums = np.asarray(P.sum(axis=1)).ravel()
    wrong = ~(np.abs(sums - 1) <= SUM_TOLERANCE)
    if wrong.any():
        s = int(np.argmax(wrong))
        raise InputError(
            f"transition probabilities sum to {sums[s]:g}",
            where=f"stage {k + 1}, state {s}",
            remedy="must be 1",
        )
    if lowest < 0:
        negative = sp.coo_array(P) if sp.issparse(P) else sp.coo_array(np.minimum(P, 0))
        i = int(np.argmin(negative.data))
        s, target = (int(index[i]) for index in negative.coords)
        raise InputError(
            f"probability {negative.data[i]:g} of reaching state {target}", where=f"stage {k + 1}, state {s}"
        )


def _check_distribution(p: Vector, name: str) -> None:
    _check_nonnegative(p, name)
    if not abs(p.sum() - 1) <= SUM_TOLERANCE:
        raise InputError(f"probabilities sum to {p.sum():g}", where=name, remedy="must be 1")


def _check_nonnegative(values: Vector, name: str, *, infinite: bool = False) -> None:
    wrong = ~(values >= 0) if infinite else ~((values >= 0) & np.isfinite(values))
    if wrong.any():
        s = int(np.argmax(wrong))
        raise InputError(f"value {values[s]:g}", where=f"{name}, state {s}", remedy="must be finite and >= 0")
