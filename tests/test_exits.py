"""EXIT, from forced answers recorded in shadow to a policy that exits, and the runs that it leads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from makers import make_table
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.exit_path import fit_exit_path, fit_forced_beliefs, stopped
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

    A stage of 20 tokens; forcing the answer takes 30. What was found is accepted with 0.85 if forced, 0.9 at the end: it
    is sometimes mended. Who is stuck is hardly ever accepted, and who searches still may guess.
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
        for k in range(K):
            u = rng.random(n)
            moves = np.where(u < self.find, FOUND, np.where(u < self.find + self.stick, STUCK, SEARCHING))
            state[:, k + 1] = np.where(state[:, k] == SEARCHING, moves, state[:, k])
        accepted = rng.random(n) < np.array(self.accepted_at_end)[state[:, K]]
        forced = rng.random((n, K + 1)) < np.array(self.accepted_if_forced)[state]
        k = np.tile(np.arange(K + 1), n)
        cost = np.where((k > 0) & (k < K), self.exit, np.nan)
        ids = tuple(f"p{i}" for i in range(n))
        schedule = EveryUnits(20, "tokens")
        table = replace(
            make_table(2),
            columns=("searching", "found", "stuck"),
            values=np.eye(3)[state.ravel()],
            verdicts=np.zeros((n * (K + 1), 0), dtype=np.int8),
            validators=(),
            k=k,
            spent=k * self.stage,
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
        )
        return table, ExitColumns(ExitPlan(schedule=schedule), cost, forced.ravel())


def least_cost(world: Overthinking, actions: set[Action]) -> float:
    """The exact optimum ρ of the world with these actions [T8], within attempts."""
    return solve(world.process(), actions=actions, checkpoints=range(1, world.K)).price


def test_the_optimum_with_both_actions_is_found_where_exit_pays():
    world = Overthinking()
    exact = {
        "both": least_cost(world, {Action.DISCARD, Action.EXIT}),
        "exit": least_cost(world, {Action.EXIT}),
        "discard": least_cost(world, {Action.DISCARD}),
    }
    assert exact["both"] < 0.9 * min(exact["exit"], exact["discard"])
    table, exits = world.sample(4000, seed=1)
    fitted, forced = fit_linear_beliefs(table), fit_forced_beliefs(table, exits)
    fresh, fresh_exits = world.sample(4000, seed=2)
    M, r = fitted.beliefs.predict(fresh.k, fresh.values)
    believed = (M, r, fitted.beliefs.worth(fresh.k, fresh.values)[1])
    found = {}
    for name, discard in (("both", True), ("exit", False)):
        path = fit_exit_path(table, exits, fitted, forced, discard=discard)
        seen = stopped(fresh, fresh_exits, path, believed, forced.beliefs.predict(fresh.k, fresh.values))
        found[name] = seen.cost_per_accepted[-1]
    print(exact, found, table.cost_per_accepted)
