"""The Gaussian drift model: evidence is a score that drifts up for attempts to be accepted and down for the others.

Model (theory §4), K stages. Stage k costs c_k tokens, the prompt c_0. The checkpoint that ends stage k brings a score
N(+δ_k, 1) if A = 1 and N(−δ_k, 1) if A = 0, independent given A, with P(A = 1) = p at the start. Its log-likelihood
ratio is 2δ_k times the score, so N(±I_k, 2I_k) with the information I_k = 2δ_k² of the stage; ℓ_k is their sum and

    M_k = P(A = 1 | F_k) = p e^ℓ / (1 − p + p e^ℓ).

**The grid.** ℓ lives on multiples of a spacing h. Up to one constant the densities of an increment x are
e^(−x²/4I) e^(±x/2), so with the symmetric weights w_j = e^(−(jh)²/4I)

    P(jh | A = 1) = w_j e^(+jh/2) / Z,    P(jh | A = 0) = w_j e^(−jh/2) / Z,    Z = Σ_j w_j cosh(jh/2)

have the same Z and the ratio e^(jh): whatever h, ℓ is the exact log-likelihood ratio of the model on the grid and M_k
its exact posterior, a martingale [T4] up to rounding. Only the information of a stage depends on h; it differs from
I_k by a relative e^(−4π² I/h²), 3e-9 at the coarsest grid allowed, h = 2δ. Towards the ends of the grid the window of j
is cut on both sides alike, which keeps the ratio exact: there validators tell less, and at the ends nothing.

**Sequential probability ratio test**: discard at ℓ ≤ a < 0, keep without looking again at ℓ ≥ b > 0. Whatever else a
policy does, if it only discards where ℓ ≤ a then f = E[e^ℓ; discarded | A = 0] ≤ e^a. With ℓ = a or b at the stop
(no overshoot), Wald's identities give

    f = (1 − e^−b)/(e^−a − e^−b),    P(kept | A = 0) = (1 − e^a)/(e^b − e^a),    E[τ | A] = ±E[ℓ_τ | A]/I

which become exact as I → 0. Gaussian steps overshoot by −ζ(1/2)/√(2π) ≈ 0.583 of their standard deviation 2δ; moving
both boundaries out by as much removes the error of first order.

References: Wald (1945), *Sequential tests of statistical hypotheses*, Ann. Math. Statist. 16, 117-186; Siegmund (1985),
*Sequential Analysis*, chapters II (approximations) and III (overshoot); Chang and Peres (1997), Ann. Probab. 25,
787-802 (the constant).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import StagePolicy
from msifr_policy.exact.process import Matrix, StageProcess, Vector, check_number

OVERSHOOT = 0.5825971579390106
"""−ζ(1/2)/√(2π), mean overshoot of a Gaussian walk in standard deviations of its steps, as their drift goes to 0."""

_TAIL = 37.0  # increments of density below e^−37 (1e-16) of the peak are left out


@dataclass(frozen=True, slots=True)
class GaussianModel:
    """Parameters of the Gaussian drift model; tuples of K numbers for stages (and the checkpoints that end them).

    prior: p = P(A = 1), in (0, 1). drift: δ_k ≥ 0, mean of the score in its standard deviations. stage_costs: c_k in
    tokens. prompt_cost: c_0. exit_cost: X tokens of EXIT at any checkpoint, whose answer is accepted with probability
    M_k; None where there is no EXIT.
    spacing, bound: h and the largest |ℓ| of the grid, in nats. At ℓ = ±12 the posterior is within 6e-6 of certainty.
    Raises `InputError` naming stage and value, also for a spacing above 2δ_k, too coarse for a Gaussian.
    """

    prior: float
    drift: tuple[float, ...]
    stage_costs: tuple[float, ...]
    prompt_cost: float = 0.0
    exit_cost: float | None = None
    spacing: float = 0.125
    bound: float = 12.0

    def __post_init__(self) -> None:
        for name in ("drift", "stage_costs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.drift or len(self.stage_costs) != self.K:
            raise InputError(f"{len(self.stage_costs)} stage costs for {self.K} stages", where="GaussianModel")
        if not 0 < self.prior < 1:
            raise InputError(f"prior {self.prior}", where="GaussianModel", remedy="a probability in (0, 1)")
        if not 0 < self.spacing <= self.bound < np.inf:
            grid = f"spacing {self.spacing}, bound {self.bound}"
            raise InputError(grid, where="GaussianModel", remedy="0 < spacing <= bound")
        for k, (delta, cost) in enumerate(zip(self.drift, self.stage_costs, strict=True), start=1):
            check_number(delta, "drift", where=f"stage {k}")
            check_number(cost, "cost", where=f"stage {k}")
            if 0 < 2 * delta < self.spacing:
                raise InputError(f"spacing {self.spacing}", where=f"stage {k}", remedy=f"at most 2·drift = {2 * delta}")
        check_number(self.prompt_cost, "prompt_cost", where="GaussianModel")
        if self.exit_cost is not None:
            check_number(self.exit_cost, "exit_cost", where="GaussianModel")

    @property
    def K(self) -> int:  # noqa: N802
        """Number of stages."""
        return len(self.drift)


def gaussian_grid(model: GaussianModel) -> Vector:
    """Return `[S]`, the log-likelihood ratio ℓ of each state of `gaussian_process`, rising, 0 in the middle."""
    n = int(model.bound / model.spacing)
    return np.asarray(np.arange(-n, n + 1) * model.spacing, np.float64)


def gaussian_process(model: GaussianModel) -> StageProcess:
    """Return the model as a `StageProcess` with the states of `gaussian_grid` at every checkpoint.

    What is known is ℓ, so every policy on this process is one a user could run. Transitions are banded (CSR), and
    stages of equal drift share one matrix. U = A in expectation: the utility of a finished attempt is its posterior.
    """
    grid = gaussian_grid(model)
    posterior = expit(np.log(model.prior / (1 - model.prior)) + grid)
    matrices = {delta: _transition(delta, posterior, model.spacing) for delta in set(model.drift)}
    initial = np.zeros(grid.size)
    initial[grid.size // 2] = 1.0
    exits = 0 if model.exit_cost is None else model.K
    return StageProcess(
        transitions=tuple(matrices[delta] for delta in model.drift),
        stage_costs=tuple(np.full(grid.size, cost) for cost in model.stage_costs),
        utility=posterior,
        initial=initial,
        prompt_cost=model.prompt_cost,
        exit_costs=(np.full(grid.size, model.exit_cost),) * exits,
        exit_utilities=(posterior,) * exits,
    )


def sprt(model: GaussianModel, lower: float, upper: float = np.inf) -> StagePolicy:
    """Return the sequential probability ratio test on `gaussian_process`: DISCARD at ℓ ≤ lower, EXIT at ℓ ≥ upper.

    With an exit cost of zero this is the classical test, which stops for good at either boundary. ℓ ≥ upper is a
    condition on the grid: boundaries midway between two of its points have an error of second order in the spacing.
    Raises `InputError` unless lower < 0 < upper, and for a finite upper boundary where the model has no EXIT.
    """
    if not lower < 0 < upper:
        raise InputError(f"boundaries {lower} and {upper}", where="sprt", remedy="lower < 0 < upper")
    if np.isfinite(upper) and model.exit_cost is None:
        raise InputError(f"upper boundary {upper} without EXIT", where="sprt", remedy="give the model an exit_cost")
    grid = gaussian_grid(model)
    going_on, exiting = (grid > lower) & (grid < upper), grid >= upper
    return StagePolicy((going_on.astype(float),) * model.K, (exiting.astype(float),) * model.K)


@dataclass(frozen=True, slots=True)
class SprtRates:
    """Rates of a sequential probability ratio test that may go on for ever.

    false_reject_rate: f = P(discarded | A = 1). false_keep_rate: P(kept | A = 0). stages_accepted, stages_rejected:
    E[τ | A = 1], E[τ | A = 0] in stages.
    """

    false_reject_rate: float
    false_keep_rate: float
    stages_accepted: float
    stages_rejected: float


def sprt_rates(drift: float, lower: float, upper: float, *, overshoot: float = OVERSHOOT) -> SprtRates:
    """Return the classical approximations of the module docstring, for stages of equal drift δ and no end.

    overshoot: by how many standard deviations of a step both boundaries are moved out; 0 gives Wald's own.
    Raises `InputError` unless lower < 0 < upper are finite and the drift is positive.
    """
    if not (0 < drift < np.inf and -np.inf < lower < 0 < upper < np.inf):
        numbers = f"drift {drift}, boundaries {lower} and {upper}"
        raise InputError(numbers, where="sprt_rates", remedy="finite, drift > 0, lower < 0 < upper")
    a, b = lower - 2 * drift * overshoot, upper + 2 * drift * overshoot
    information = 2 * drift**2
    f = np.expm1(-b) / (np.expm1(-b) - np.expm1(-a))
    g = np.expm1(a) / (np.expm1(a) - np.expm1(b))
    return SprtRates(
        false_reject_rate=float(f),
        false_keep_rate=float(g),
        stages_accepted=float(((1 - f) * b + f * a) / information),
        stages_rejected=float(-(g * b + (1 - g) * a) / information),
    )


def sprt_boundaries(false_reject_rate: float, false_keep_rate: float) -> tuple[float, float]:
    """Return Wald's boundaries (lower, upper) = (log f/(1 − g), log (1 − f)/g) for wanted error rates f and g.

    What is guaranteed for any law of the evidence: the test's own f' ≤ f/(1 − g), g' ≤ g/(1 − f), f' + g' ≤ f + g.
    Raises `InputError` unless both are positive and their sum is below one.
    """
    f, g = false_reject_rate, false_keep_rate
    if not (f > 0 and g > 0 and f + g < 1):
        raise InputError(f"error rates {f} and {g}", where="sprt_boundaries", remedy="positive, with a sum below 1")
    return float(np.log(f / (1 - g))), float(np.log((1 - f) / g))


def _transition(drift: float, posterior: Vector, h: float) -> Matrix:
    """Return `[S, S]`: where ℓ goes in a stage, averaged over what is not known of A."""
    S, information = posterior.size, 2 * drift**2
    if not drift:
        return sp.eye_array(S, format="csr")
    reach = min(S // 2, int((information + 2 * np.sqrt(information * _TAIL)) / h))
    j = np.arange(-reach, reach + 1)
    up, down = (np.exp(-((j * h - mean) ** 2) / (4 * information)) for mean in (information, -information))
    place = np.arange(S)
    window = np.minimum(reach, np.minimum(place, S - 1 - place))  # the same to both sides
    total = np.concatenate([up[reach : reach + 1], up[reach + 1 :] + up[:reach][::-1]]).cumsum()[window]
    inside = np.abs(j) <= window[:, None]
    rows = (posterior[:, None] * up + (1 - posterior)[:, None] * down) / total[:, None]
    indptr = np.concatenate([[0], inside.sum(axis=1).cumsum()])
    return sp.csr_array((rows[inside], (place[:, None] + j)[inside], indptr), shape=(S, S))
