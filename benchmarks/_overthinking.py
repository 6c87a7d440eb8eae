"""A world where EXIT pays: attempts that go on writing long after they have found their answer, or lost their way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from msifr_policy.evidence.exits import ExitColumns, ExitPlan
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.table import Costing, EvidenceTable
from msifr_policy.exact.optimum import solve
from msifr_policy.exact.process import StageProcess
from msifr_policy.policy import Action

SEARCHING, FOUND, STUCK = range(3)


@dataclass(frozen=True)
class Overthinking:
    """An attempt searches until it has found its answer or is stuck, and goes on writing to its end all the same.

    A stage is 20 tokens; forcing the answer takes 30. What was found is accepted with 0.85 if forced, 0.9 at the
    end: it is mended at times. Who is stuck is hardly ever accepted, and who searches still may guess.
    """

    K: int = 8
    stage: float = 20.0
    exit: float = 30.0
    find: float = 0.2
    stick: float = 0.3

    def process(self) -> StageProcess:
        """The world as a Markov chain whose state is seen."""
        stay = 1 - self.find - self.stick
        P = np.array([[stay, self.find, self.stick], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        K = self.K
        return StageProcess(
            transitions=(P,) * K,
            stage_costs=(np.full(3, self.stage),) * K,
            utility=np.array(self.accepted_at_end),
            initial=np.array([1.0, 0.0, 0.0]),
            exit_costs=(np.full(3, np.inf), *(np.full(3, self.exit),) * (K - 1)),
            exit_utilities=(np.zeros(3), *(np.array(self.accepted_if_forced),) * (K - 1)),
        )

    accepted_at_end = (0.3, 0.9, 0.03)
    accepted_if_forced = (0.1, 0.85, 0.03)

    def sample(self, n: int, seed: int) -> tuple[EvidenceTable, ExitColumns]:
        """Recorded attempts of one prompt each; evidence is the state, in one column for each."""
        rng = np.random.default_rng(seed)
        K = self.K
        state = np.zeros((n, K + 1), dtype=np.int64)
        for stage in range(K):
            u = rng.random(n)
            moves = np.where(u < self.find, FOUND, np.where(u < self.find + self.stick, STUCK, SEARCHING))
            state[:, stage + 1] = np.where(state[:, stage] == SEARCHING, moves, state[:, stage])
        accepted = rng.random(n) < np.array(self.accepted_at_end)[state[:, K]]
        forced = rng.random((n, K + 1)) < np.array(self.accepted_if_forced)[state]
        k = np.tile(np.arange(K + 1), n)
        cost = np.where((k > 0) & (k < K), self.exit, np.nan)
        ids = tuple(f"p{i}" for i in range(n))
        schedule = EveryUnits(20, "tokens")
        table = EvidenceTable(
            columns=("searching", "found", "stuck"),
            values=np.eye(3)[state.ravel()],
            verdicts=np.zeros((n * (K + 1), 0), dtype=np.int8),
            validators=(),
            k=k,
            spent=np.asarray(k * self.stage, dtype=np.float64),
            position=k,
            start=np.arange(0, n * (K + 1) + 1, K + 1),
            attempt_ids=ids,
            prompt_ids=ids,
            prompt_hash=np.arange(n, dtype=np.uint64),
            prompt=np.arange(n),
            groups=("",) * n,
            accepted=accepted,
            schedule=schedule,
            costing=Costing("tokens", "recorded"),
            fingerprint=f"overthinking {n} {seed}",
        )
        return table, ExitColumns(ExitPlan(schedule=schedule), cost, forced.ravel())


def least_cost(world: Overthinking, actions: Collection[Action]) -> float:
    """The exact optimum ρ of the world with these actions [T8], within attempts."""
    return solve(world.process(), actions=actions, checkpoints=range(1, world.K)).price
