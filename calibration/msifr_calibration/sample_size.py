"""How many accepted samples a certificate takes, before any is collected: critical numbers, power, prompts.

What is planned for is the exact binomial test of [T10] at the whole of δ = 1 − confidence: one attempt of each prompt
is counted, and with c losses of n accepted samples f ≤ α is certified iff P(Bin(n, α) ≤ c) ≤ δ. Its power rises at the
critical numbers n_0 < n_1 < …, where one more loss is allowed, and falls between them: a saw. So "enough" is the
number from which on every larger one is enough as well.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from msifr_calibration.options import check_share
from msifr_policy.errors import InputError

MOST_LOSSES = 200_000
"""Plans that allow more losses than this, of millions of samples, are refused."""

ENOUGH_PROMPTS = 0.95
"""Probability that the planned prompts bring about as many accepted samples as are planned for."""


def critical_number(losses: int, max_false_reject: float, confidence: float) -> int:
    """Return the smallest n with P(Bin(n, α) ≤ losses) ≤ 1 − confidence: accepted samples that allow so many losses.

    Raises `InputError` for a negative number of losses, or a rate or confidence outside (0, 1).
    """
    check_share("max_false_reject", max_false_reject)
    check_share("confidence", confidence)
    if losses < 0:
        raise InputError(f"{losses} losses must not be negative")
    return int(_critical_numbers(np.asarray([losses]), max_false_reject, confidence)[0])


def _critical_numbers(losses: NDArray[np.int64], alpha: float, confidence: float) -> NDArray[np.int64]:
    """Return `[...]` the critical number of each of `losses`.

    P(Bin(n, α) ≤ c) ≤ δ iff the (c + 1)-th loss comes within n samples with probability ≥ 1 − δ at the rate α: n is
    a quantile of the negative binomial law. It is put right by the test's own comparison, as rounding may tip it.
    """
    n = losses + 1 + scipy.stats.nbinom.ppf(confidence, losses + 1, alpha).astype(np.int64)
    n += scipy.stats.binom.cdf(losses, n, alpha) > 1 - confidence
    return n - ((n > losses + 1) & (scipy.stats.binom.cdf(losses, n - 1, alpha) <= 1 - confidence))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What is to be certified, and what is hoped for and expected of the attempts.

    max_false_reject: α; confidence: 1 − δ. hoped_for: the false-reject rate the policy really has, None for two fifths
    of α; power: the probability with which it is then to be certified. acceptance: share of the attempts accepted.
    attempts_per_prompt: m; correlation: ρ between losses of two good samples of one prompt, 0 to 1.
    certify_share: share of the prompts held out to certify on; the policy is fitted on the others.
    Raises `InputError` for shares that are none, or a hoped-for rate not below α.
    """

    max_false_reject: float = 0.05
    confidence: float = 0.9
    hoped_for: float | None = None
    power: float = 0.9
    acceptance: float = 0.5
    attempts_per_prompt: int = 1
    correlation: float = 0.0
    certify_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("max_false_reject", "confidence", "power", "certify_share"):
            check_share(name, getattr(self, name))
        if not 0 < self.acceptance <= 1:
            raise InputError(f"acceptance = {self.acceptance:g} must lie above 0, and not above 1")
        if not 0 <= self.correlation <= 1:
            raise InputError(f"correlation = {self.correlation:g} must lie between 0 and 1")
        if self.attempts_per_prompt < 1:
            raise InputError(f"attempts_per_prompt = {self.attempts_per_prompt} must be at least 1")
        if self.hoped_for is not None and not 0 <= self.hoped_for < self.max_false_reject:
            raise InputError(
                f"hoped_for = {self.hoped_for:g} must lie between 0 and below max_false_reject = "
                f"{self.max_false_reject:g}",
                remedy="no test certifies a rate that the policy exceeds; hope for less, or allow more",
            )

    @property
    def hoped(self) -> float:
        """The hoped-for rate."""
        return 0.4 * self.max_false_reject if self.hoped_for is None else self.hoped_for


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePlan:
    """Accepted samples, prompts and attempts that a certificate takes.

    critical_numbers `[6]`: accepted samples from which on 0, 1, … 5 of them may be lost; below the first nothing can be
    certified. n_accepted: accepted samples, one per prompt, from which on every number certifies with the planned power
    or more; losses_allowed among them; power: that of exactly so many. n_accepted_lucky: the smallest number with the
    planned power at all; some larger ones have less.

    prompts_to_certify: prompts that bring about n_accepted with probability 95 %, one attempt of each counted.
    prompts_at_best: as many as every attempt counted could spare, no fewer (a bound, not a promise). prompts and
    attempts: in all, with those the policy is fitted on. design_effect: accepted samples that say as much as one
    independent one.
    """

    critical_numbers: tuple[int, ...]
    n_accepted: int
    losses_allowed: int
    power: float
    n_accepted_lucky: int
    prompts_to_certify: int
    prompts_at_best: int
    design_effect: float
    prompts: int
    attempts: int


def plan_samples(options: PlanOptions) -> SamplePlan:
    """Return how many samples certify f ≤ α with the planned power if the policy loses what is hoped.

    With m attempts per prompt, accepted independently with probability a, an accepted sample has on average (m − 1)·a
    companions at its prompt, so that the design effect is 1 + (m − 1)·a·ρ (Kish 1965, section 5.4). One attempt of each
    prompt counts in any case; at best, all accepted samples divided by the design effect.

    Raises `InputError` where the hoped-for rate lies too near to α.
    """
    alpha, confidence, f = options.max_false_reject, options.confidence, options.hoped
    a, m = options.acceptance, options.attempts_per_prompt
    # From n_0 to beyond `surely` every critical number, and the power at the teeth of the saw: just before the next.
    losses = np.arange(_losses_to_look_at(options) + 2)
    n = _critical_numbers(losses, alpha, confidence)
    peaks = scipy.stats.binom.cdf(losses[:-1], n[:-1], f)
    valleys = scipy.stats.binom.cdf(losses[:-1], n[1:] - 1, f)
    too_low = np.flatnonzero(valleys < options.power)
    enough = int(too_low[-1]) + 1 if len(too_low) else 0
    lucky = int(np.argmax(peaks >= options.power))
    n_accepted = int(n[enough])
    prompts = n_accepted + int(scipy.stats.nbinom.ppf(ENOUGH_PROMPTS, n_accepted, a))
    design_effect = 1 + (m - 1) * a * options.correlation
    in_all = math.ceil(prompts / options.certify_share)
    return SamplePlan(
        critical_numbers=tuple(_critical_numbers(np.arange(6), alpha, confidence).tolist()),
        n_accepted=n_accepted,
        losses_allowed=enough,
        power=float(peaks[enough]),
        n_accepted_lucky=int(n[lucky]),
        prompts_to_certify=prompts,
        prompts_at_best=min(prompts, math.ceil(n_accepted * design_effect / (a * m))),
        design_effect=design_effect,
        prompts=in_all,
        attempts=in_all * m,
    )


def _losses_to_look_at(options: PlanOptions) -> int:
    """Return c such that every number of samples from the critical number of c on has the planned power.

    For any q between f and α, by Chernoff's bound P(Bin(n, α) ≤ qn) ≤ exp(−n·KL(q, α)) ≤ δ, so that qn losses are
    allowed, from n = ln(1/δ)/KL(q, α) on; and P(Bin(n, f) > qn) ≤ exp(−n·KL(q, f)) ≤ 1 − power from
    n = ln(1/(1 − power))/KL(q, f) on. The q at which both are the same number is the best.
    """
    alpha, f = options.max_false_reject, options.hoped
    if f == 0:
        return 0  # no loss is ever seen
    delta, miss = 1 - options.confidence, 1 - options.power

    def difference(q: float) -> float:
        return math.log(delta) * _divergence(q, f) - math.log(miss) * _divergence(q, alpha)

    q = float(scipy.optimize.brentq(difference, f, alpha, xtol=1e-3 * (alpha - f)))
    # Both numbers, whatever the q, so that nothing rests on how well it was found.
    divergences = max(_divergence(q, alpha), 1e-300), max(_divergence(q, f), 1e-300)
    surely = max(-math.log(delta) / divergences[0], -math.log(miss) / divergences[1])
    if surely * alpha > MOST_LOSSES:
        raise InputError(
            f"a hoped-for rate of {f:g} lies too near to {alpha:g} to be told from it",
            where="hoped_for",
            remedy="hope for less, or allow more",
        )
    return int(scipy.stats.binom.ppf(delta, math.ceil(surely), alpha)) + 1


def _divergence(q: float, p: float) -> float:
    """Return KL(q, p) of two Bernoulli laws, in nats; 0 < q, p < 1."""
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
