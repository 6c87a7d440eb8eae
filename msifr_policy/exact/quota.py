"""Quotas: n accepted samples per prompt from at most m attempts, and when to give a prompt up.

Attempts of one prompt are accepted independently with a probability p that differs by prompt, p ~ Beta(a, b). After i
attempts with j accepted the next one is accepted with probability p̂ = (a + j)/(a + b + i). An attempt costs t_1 tokens
if it is accepted and t_0 if not (discarded ones are cheap), starting a prompt costs c. For a price λ per sample

    V(i, n) = V(m, j) = 0,    V(i, j) = max{ 0 [give up],  p̂ (λ − t_1 + V(i+1, j+1)) + (1 − p̂)(−t_0 + V(i+1, j)) }

and the least cost per accepted sample over prompts is the λ* with V(0, 0) = c, found by Dinkelbach's method as in [T8].
Perfectly correlated attempts are the limit a + b → 0: one failure says it all. Reference: DeGroot (1970), *Optimal
Statistical Decisions*, chapter 12.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.process import Vector, check_number


@dataclass(frozen=True, slots=True, eq=False)
class Quota:
    """When to give a prompt up, and what that gives per prompt.

    price: λ in tokens per accepted sample. give_up: `[m, n]` bool, whether to give up after i attempts with j accepted
    (False where j > i). tokens, accepted: expected per prompt. filled: probability that the quota is met.
    """

    price: float
    give_up: npt.NDArray[np.bool_]
    tokens: float
    accepted: float
    filled: float

    @property
    def cost_per_accepted(self) -> float:
        """Tokens per accepted sample over prompts; `inf` if nothing is accepted."""
        return self.tokens / self.accepted if self.accepted > 0 else np.inf


def fill_quota(
    wanted: int,
    attempts: int,
    *,
    prior: tuple[float, float],
    cost_accepted: float,
    cost_rejected: float,
    start_cost: float = 0.0,
    price: float | None = None,
) -> Quota:
    """Return when to give prompts up, for `wanted` samples n from at most `attempts` m.

    prior: (a, b) of the Beta law of acceptance over prompts, both > 0. cost_accepted, cost_rejected: t_1, t_0 tokens.
    start_cost: c tokens, paid once per prompt. price: λ tokens per accepted sample; by default the least cost per
    accepted sample that any rule can reach. The first attempt is always made. Raises `InputError` for bad numbers.
    """
    costs = (cost_accepted, cost_rejected, start_cost)
    if wanted < 1 or attempts < 1:
        raise InputError(f"{wanted} samples from {attempts} attempts", where="fill_quota", remedy="at least one")
    for name, share in zip("ab", prior, strict=True):
        if not 0 < share < np.inf:
            raise InputError(f"{name} = {share}", where="fill_quota, prior", remedy="> 0")
    for number in (*costs, price or 0.0):
        check_number(number, "cost or price", where="fill_quota")
    i, j = np.ogrid[:attempts, :wanted]
    p = (prior[0] + j) / (prior[0] + prior[1] + i)
    if price is not None:
        return _follow(_induct(price, p, costs), price, p, costs)
    best = _follow(np.zeros(p.shape, bool), 0.0, p, costs)
    while True:
        price = best.cost_per_accepted
        found = _follow(_induct(price, p, costs), price, p, costs)
        if not found.cost_per_accepted < price * (1 - 1e-13):
            return replace(best, price=price)
        best = found


def _induct(price: float, p: Vector, costs: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
    """Return when to give up, `[m, n]`, by the recursion of the module docstring; p: `[m, n]`, p̂ after i with j."""
    (m, n), (t_1, t_0, _) = p.shape, costs
    give_up = np.zeros((m, n), bool)
    V = np.zeros(n + 1)
    for i in reversed(range(m)):
        going_on = p[i] * (price - t_1 + V[1:]) + (1 - p[i]) * (V[:-1] - t_0)
        give_up[i] = (going_on <= 0) & (i > 0)
        V[:-1] = np.where(give_up[i], 0.0, going_on)
    return np.tril(give_up)


def _follow(give_up: npt.NDArray[np.bool_], price: float, p: Vector, costs: tuple[float, float, float]) -> Quota:
    (m, n), (t_1, t_0, tokens) = p.shape, costs
    mass, accepted = np.append(1.0, np.zeros(n)), 0.0
    for i in range(m):
        trying = np.where(give_up[i], 0.0, mass[:-1])
        hit = trying * p[i]
        miss = trying - hit
        tokens += float(hit.sum() * t_1 + miss.sum() * t_0)
        accepted += float(hit.sum())
        mass[:-1] += miss - trying
        mass[1:] += hit
    return Quota(price, give_up, tokens, accepted, float(mass[-1]))
