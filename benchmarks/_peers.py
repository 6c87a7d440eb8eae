"""The peers of `benchmarks.certificates`, in an environment of their own: `python _peers.py IN.npz OUT.json …`.

    python -m venv peers && peers/bin/pip install e-valuator==1.0.0 mapie==1.6.0

Both get what this project's certificate gets: one score per checkpoint, α and δ. What they return is what a policy
needs (thresholds and, of e-valuator, its regressions), so that all are judged by one program on the same attempts.

* e-valuator (PAC): its target a is split as α = w₀·a and δ = w₁·a, so a = α + δ and w = (α, δ)/(α + δ) ask for this α
  and δ. It fits density ratios per step on half of the attempts and the tolerance bound on the other half, its default.
* MAPIE: recall ≥ 1 − α of "kept", which is min_k score ≥ threshold, by fixed-sequence testing over its default grid of
  100 thresholds; of the valid ones the largest is taken, which discards most.

IN.npz: `score` `[R]`, `start` `[N + 1]` rows of each attempt, `accepted` `[N]`, `case` `[C + 1]` first attempts of the
cases, `alpha`, `delta`. Attempts without a checkpoint have no rows. With `--speed N M` e-valuator is timed on the first
N attempts, MAPIE on all, and the cross-fitted scores that either needs, by scikit-learn's logistic regressions per
checkpoint in five folds, on the first M, whose `evidence` `[R', D]` is in the file. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evaluator import EValuator
from mapie.risk_control import BinaryClassificationController
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Quicker(EValuator):
    """The same e-values step by step instead of row by row; `check` compares them with the original's."""

    def _compute_e_vals_for_variant(self, df: pd.DataFrame, which: str) -> np.ndarray:
        """Return the e-value of every row, rows of a problem being in order of their steps."""
        del which
        models, scalers, base = self.step_models_split, self.step_scalers_split, self.step_base_probs_split
        values = np.full(len(df), np.nan)
        for step, at in df.groupby(self.step_col).indices.items():
            if step in models:
                x = scalers[step].transform(np.stack(df["judge_probability_series"].to_numpy()[at]))
                p = np.clip(models[step].predict_proba(x), 1e-6, 1 - 1e-6)
                values[at] = p[:, 0] / p[:, 1] * (base[step]["p1"] / base[step]["p0"])
        filled: np.ndarray = pd.Series(values).groupby(df[self.problem_col].to_numpy()).ffill().fillna(1.0).to_numpy()
        return filled


def frame(score: np.ndarray, start: np.ndarray, accepted: np.ndarray) -> pd.DataFrame:
    """Return the rows as e-valuator reads them: `[R]` problem, step, outcome and scores up to the step."""
    problem = np.repeat(np.arange(len(accepted)), np.diff(start))
    series = [score[a : row + 1].tolist() for a, b in pairwise(start) for row in range(a, b)]
    return pd.DataFrame(
        {
            "uq_problem_idx": problem,
            "num_steps": np.arange(len(score)) - start[problem] + 1,
            "solved": accepted[problem].astype(int),
            "judge_probability_series": series,
        }
    )


def evaluator(kind: type[EValuator], alpha: float, delta: float) -> EValuator:
    """Return an e-valuator asked for α and δ."""
    a = alpha + delta
    return kind(mt_variant="PAC", alphas=[a], alpha_delta_weights=(alpha / a, delta / a))


def of_evaluator(table: pd.DataFrame, alpha: float, delta: float) -> dict[str, Any] | None:
    """Return threshold and regressions; None where none can be had: too few attempts."""
    ev = evaluator(Quicker, alpha, delta)
    try:
        ev.fit(table)
    except AssertionError:  # fewer than five attempts of an outcome
        return None
    threshold = float(ev.thresholds[alpha + delta])
    if not np.isfinite(threshold):
        return None
    return {"threshold": threshold, "steps": {str(step): regression(ev, step) for step in ev.step_models_split}}


def regression(ev: EValuator, step: int) -> dict[str, Any]:
    """Return the regression of a step in numbers: log-odds of "solved" from the raw scores, and the base odds."""
    model, scaler, base = ev.step_models_split[step], ev.step_scalers_split[step], ev.step_base_probs_split[step]
    coefficients = model.coef_[0] / scaler.scale_
    return {
        "coefficients": coefficients.tolist(),
        "intercept": float(model.intercept_[0] - coefficients @ scaler.mean_),
        "base_odds": base["p1"] / base["p0"],
    }


def of_mapie(lowest: np.ndarray, accepted: np.ndarray, alpha: float, delta: float) -> float | None:
    """Return the largest valid threshold on the lowest score of an attempt, None if there is none."""
    controller = BinaryClassificationController(
        lambda x: np.column_stack([1 - x[:, 0], x[:, 0]]),
        risk="recall",
        target_level=1 - alpha,
        confidence_level=1 - delta,
        fwer_method="fixed_sequence",
    )
    controller.calibrate(lowest[:, None], accepted)
    valid = controller.valid_predict_params
    return float(np.max(valid)) if len(valid) else None


def lowest_scores(score: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return `[N]` the lowest score of each attempt, 1 where there is none."""
    lowest = np.ones(len(start) - 1)
    some = np.diff(start) > 0
    lowest[some] = np.minimum.reduceat(score, start[:-1][some])
    return lowest


def cross_fitted(evidence: np.ndarray, start: np.ndarray, accepted: np.ndarray) -> np.ndarray:
    """Return `[R]` cross-fitted scores of `evidence` `[R, D]`, and fit the models that score attempts to come."""
    step = np.arange(len(evidence)) - np.repeat(start[:-1], np.diff(start))
    outcome = np.repeat(accepted, np.diff(start))
    score = np.empty(len(evidence))
    for k in range(int(step.max()) + 1):
        rows = np.flatnonzero(step == k)
        model = make_pipeline(StandardScaler(), LogisticRegression())
        predicted = cross_val_predict(model, evidence[rows], outcome[rows], cv=5, method="predict_proba")
        score[rows] = predicted[:, 1]
        model.fit(evidence[rows], outcome[rows])
    return score


def check(table: pd.DataFrame, alpha: float, delta: float) -> float:
    """Return the largest relative difference between the quicker e-values and the original's, and of thresholds."""
    both = [evaluator(kind, alpha, delta) for kind in (EValuator, Quicker)]
    for ev in both:
        ev.fit(table)
    one, other = (ev.apply(table, compute_rejects=False)["PAC_e_val"].to_numpy() for ev in both)
    thresholds = [ev.thresholds[alpha + delta] for ev in both]
    return float(max(np.abs(other / one - 1).max(), abs(thresholds[1] / thresholds[0] - 1)))


def timed(call: Any) -> tuple[float, float]:
    """Return wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Answer all cases, or time both peers on the first."""
    warnings.simplefilter("ignore")
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    data = np.load(source)
    alpha, delta, score, start, accepted = (data[x] for x in ("alpha", "delta", "score", "start", "accepted"))
    alpha, delta = float(alpha), float(delta)
    answer: dict[str, Any] = {"versions": {name: version(name) for name in ("e-valuator", "mapie")}, "cases": []}
    if "--speed" in sys.argv:
        some, scored = map(int, sys.argv[-2:])
        table = frame(score[: start[some]], start[: some + 1], accepted[:some])
        answer["evaluator"] = timed(lambda: evaluator(EValuator, alpha, delta).fit(table))
        answer["scores"] = timed(lambda: cross_fitted(data["evidence"], start[: scored + 1], accepted[:scored]))
        answer["mapie"] = timed(lambda: of_mapie(lowest_scores(score, start), accepted, alpha, delta))
    else:
        for first, last in pairwise(data["case"]):
            at = start[first : last + 1]
            here, outcome = (score[at[0] : at[-1]], at - at[0]), accepted[first:last]
            table = frame(*here, outcome)
            if "check" not in answer and 100 < len(outcome) < 250:
                answer["check"] = check(table, alpha, delta)
            answer["cases"].append(
                {
                    "evaluator": of_evaluator(table, alpha, delta),
                    "mapie": of_mapie(lowest_scores(*here), outcome, alpha, delta),
                }
            )
    target.write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
