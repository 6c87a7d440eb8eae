"""Worlds whose truth is known: attempts with noisy evidence, made directly as evidence tables.

An attempt has a latent quality q ~ N(0, 1) and is accepted with probability σ(slope·q + shift). It ends after L of at
most K + 1 stages; L depends on the outcome: attempts not accepted are longer, and some run to the limit. At each
checkpoint k < L it shows x_k = strength·q + N(0, 1) as a surprisal, lower for better attempts: its mean so far, the
last, and the largest; and columns that are noise. By Bayes' rule with the mean of x_1 … x_k, sufficient for q,

    M_k = P(A = 1 | x̄_k, L > k),    r_k = Σ_a P(A = a | x̄_k, L > k)·E[remaining cost | A = a, L > k],

so the beliefs that a fit estimates are known exactly. Attempts of one prompt copy a common attempt (outcome, length and
evidence) with probability √ρ, each by itself: any two have correlation ρ in everything, and each alone is unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from msifr_policy.beliefs.blend import worth_of
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.table import Costing, EvidenceTable
from msifr_policy.validators import Logprobs, Magnitude, describe

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

K = 16
STAGE = 64.0
"""Tokens of a stage."""
_CHARACTERS = 256
_QUALITY = np.linspace(-4, 4, 81)
_VALIDATORS = (Logprobs(), Magnitude())
COLUMNS = tuple(f"{v.name}.{column}" for v in _VALIDATORS for column in v.columns)


@dataclass(frozen=True, slots=True)
class World:
    """What is known of a world: `slope`, `shift` of the acceptance, `strength` of the evidence; `ends` `[2, K + 1]` is
    P(L = l | A = a), l = 1 … K + 1; `scale` and `level` of the surprisals that show x.
    """

    slope: float
    shift: float
    strength: float
    ends: Array
    scale: float = 0.2
    level: float = 1.5


def draw_world(rng: np.random.Generator) -> World:
    """Return one of many similar worlds: half of the attempts or so accepted, evidence that tells much but not all."""
    stage = np.arange(1, K + 2)
    ends = np.empty((2, K + 1))
    of_bad, of_good = (rng.uniform(9.5, 10.5), rng.uniform(0.25, 0.35)), (rng.uniform(6.5, 7.5), 0.005)
    for accepted, (centre, at_limit) in enumerate((of_bad, of_good)):
        shape = np.exp(-0.5 * ((stage - centre) / rng.uniform(2.8, 3.2)) ** 2)
        ends[accepted] = (1 - at_limit) * shape / shape.sum()
        ends[accepted, -1] += at_limit
    return World(
        slope=rng.uniform(2.5, 3.5),
        shift=rng.uniform(-0.3, 0.3),
        strength=rng.uniform(0.75, 0.95),
        ends=ends,
        scale=rng.uniform(0.19, 0.21),
        level=rng.uniform(1.47, 1.53),
    )


def draw_table(
    world: World,
    attempts: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    correlation: float = 0.0,
    accepted: int | None = None,
    name: str = "p",
) -> EvidenceTable:
    """Return attempts at prompts, `attempts` `[P]` of each; `correlation` is ρ of the attempts of one prompt.

    With `accepted` so many are accepted exactly (ρ = 0 only): attempts of each outcome are drawn as such.
    """
    prompt = np.repeat(np.arange(len(attempts)), attempts)
    # Own draws of all attempts, then one that each prompt has in common.
    n, in_all = len(prompt), len(prompt) + len(attempts)
    if accepted is None:
        q = rng.standard_normal(in_all)
        A = rng.random(in_all) < expit(world.slope * q + world.shift)
    else:
        A = rng.permutation(np.arange(n) < accepted)
        A = np.append(A, np.zeros(len(attempts), dtype=bool))
        q = _quality_given(world, A, rng)
    ends = (rng.random(in_all)[:, None] > world.ends.cumsum(axis=1)[A.astype(np.int64)]).sum(axis=1) + 1
    ends = np.minimum(ends, K + 1)
    x = world.strength * q[:, None] + rng.standard_normal((in_all, K))
    source = np.where(rng.random(n) < np.sqrt(correlation), n + prompt, np.arange(n))
    noise = rng.standard_normal((n, K, len(COLUMNS) - 3))
    return _table(world, prompt, A[source], ends[source], x[source], noise, name)


def _quality_given(world: World, A: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Draw q given the outcome by rejection: every attempt is drawn until its outcome is the one wanted."""
    q = np.empty(len(A))
    left = np.arange(len(A))
    while len(left):
        q[left] = rng.standard_normal(len(left))
        left = left[(rng.random(len(left)) < expit(world.slope * q[left] + world.shift)) != A[left]]
    return q


def _table(
    world: World, prompt: Integers, A: NDArray[np.bool_], ends: Integers, x: Array, noise: Array, name: str
) -> EvidenceTable:
    start = np.concatenate(([0], np.cumsum(ends)))
    owner = np.repeat(np.arange(len(A)), ends)
    k = np.arange(start[-1]) - start[owner] + 1
    at = np.minimum(k, K) - 1  # the end of an attempt at the limit shows what its last checkpoint did
    columns = [column[owner, at] for column in _surprisals(world, x)]
    values = np.column_stack([*columns, *noise[owner, at].T])
    return table_of(prompt, A, start, k, values, name=name)


def _surprisals(world: World, x: Array) -> list[Array]:
    """Return mean so far, last, largest so far of the surprisals that show `x` `[N, K]`, `[N, K]` each."""
    surprisal = np.maximum(world.level - world.scale * x, 0.0)
    mean = np.maximum(world.level - world.scale * x.cumsum(axis=1) / np.arange(1, K + 1), 0.0)
    return [mean, surprisal, np.maximum.accumulate(surprisal, axis=1)]


def table_of(
    prompt: Integers,
    accepted: NDArray[np.bool_],
    start: Integers,
    k: Integers,
    values: Array,
    *,
    groups: Sequence[str] = (),
    name: str = "p",
) -> EvidenceTable:
    """Return a table of prompts numbered from 0, `name` being what their ids begin with, of stages of equal costs."""
    n, n_prompts = len(accepted), int(prompt.max(initial=-1)) + 1
    return EvidenceTable(
        columns=COLUMNS,
        values=values,
        verdicts=np.zeros((len(k), len(_VALIDATORS)), dtype=np.int8),
        k=k,
        spent=STAGE * k,
        position=_CHARACTERS * k,
        start=start,
        attempt_ids=tuple(f"{name}{i:07d}" for i in range(n)),
        prompt_ids=tuple(f"{name}{i:07d}" for i in range(n_prompts)),
        prompt_hash=np.arange(n_prompts).astype(np.uint64),
        prompt=prompt.astype(np.int64),
        groups=tuple(groups) or ("",) * n,
        accepted=accepted,
        schedule=EveryUnits(_CHARACTERS, "characters"),
        validators=tuple(map(describe, _VALIDATORS)),
        costing=Costing("tokens", "recorded"),
        fingerprint=name,
    )


def large_table(n: int, rng: np.random.Generator) -> EvidenceTable:
    """Return n attempts, each its own prompt, all with K checkpoints and an end; made in place."""
    world = draw_world(rng)
    q = rng.standard_normal(n)
    values = np.empty((n * (K + 1), len(COLUMNS)))
    total, largest = np.zeros(n), np.zeros(n)
    for k in range(1, K + 2):
        x = world.strength * q + rng.standard_normal(n)
        total += x
        surprisal = np.maximum(world.level - world.scale * x, 0.0)
        largest = np.maximum(largest, surprisal)
        rows = values[k - 1 :: K + 1]
        rows[:, 0] = np.maximum(world.level - world.scale * total / k, 0.0)
        rows[:, 1], rows[:, 2] = surprisal, largest
        for column in range(3, len(COLUMNS)):
            rows[:, column] = rng.standard_normal(n)
    A = rng.random(n) < expit(world.slope * q + world.shift)
    return table_of(np.arange(n), A, np.arange(n + 1) * (K + 1), np.tile(np.arange(1, K + 2), n), values, name="large")


def stacked(tables: Sequence[EvidenceTable]) -> EvidenceTable:
    """Return the attempts of tables of different prompts end to end."""
    start, prompts = (
        np.cumsum([0, *numbers]) for numbers in zip(*((len(t.k), t.n_prompts) for t in tables), strict=True)
    )
    first = tables[0]
    return replace(
        first,
        **{
            name: np.concatenate([getattr(t, name) for t in tables])
            for name in ("values", "verdicts", "k", "spent", "position", "accepted")
        },
        start=np.concatenate([[0], *(t.start[1:] + o for t, o in zip(tables, start, strict=False))]),
        attempt_ids=tuple(i for t in tables for i in t.attempt_ids),
        prompt_ids=tuple(i for t in tables for i in t.prompt_ids),
        prompt_hash=np.arange(prompts[-1]).astype(np.uint64),
        prompt=np.concatenate([t.prompt + o for t, o in zip(tables, prompts, strict=False)]),
        groups=tuple(g for t in tables for g in t.groups),
        fingerprint=" ".join(t.fingerprint for t in tables),
    )


def true_beliefs(world: World, table: EvidenceTable) -> tuple[Array, Array]:
    """Return M_k and r_k, `[R]` each, of a table of `draw_table` (at the ends: as if one more checkpoint were due)."""
    x_bar = (world.level - table.values[:, 0]) / world.scale
    k = np.minimum(table.k, K)
    weight = np.exp(-0.5 * _QUALITY**2)
    likelihood = weight * np.exp(-0.5 * k[:, None] * (x_bar[:, None] - world.strength * _QUALITY) ** 2)
    p = likelihood @ expit(world.slope * _QUALITY + world.shift) / likelihood.sum(axis=1)
    going = 1 - world.ends.cumsum(axis=1)  # P(L > l | A), l = 1 … K + 1
    at = np.minimum(k, K) - 1
    good, bad = p * going[1, at], (1 - p) * going[0, at]
    M = good / (good + bad)
    ahead = going[:, ::-1].cumsum(axis=1)[:, ::-1]  # Σ_{j ≥ l} P(L > j)
    left = STAGE * ahead[:, :K] / going[:, :K]
    return M, M * left[1, at] + (1 - M) * left[0, at]


def true_worth(world: World, table: EvidenceTable, rho: float) -> Array:
    """Return `[R]` the worth ω of the true beliefs, at cost per accepted `rho`."""
    return worth_of(*true_beliefs(world, table), rho)
