"""The policy that a run with an autopilot leaves: a certified level of its path, as a policy file like any other."""

import math
from importlib.metadata import version

from msifr_calibration.autopilot.course import PilotOptions
from msifr_calibration.autopilot.level_tests import LevelTests
from msifr_calibration.betting import betting_prompts_needed
from msifr_policy.errors import InputError
from msifr_policy.path_policy import PathFile
from msifr_policy.policy_file import Certificate, Fingerprint, FrontierPoint, PolicyFile


def certified_file(
    path: PathFile, level: int, tests: LevelTests, options: PilotOptions, certified_on: Fingerprint, lost: int
) -> PolicyFile:
    """Return the policy of a level that `tests` certify on the attempts `certified_on`, `lost` good ones of them seen.

    Raises `InputError` if they do not certify it.
    """
    if not 0 <= level < tests.n_certified:
        raise InputError(f"level {level} is not among the {tests.n_certified} certified", where="certificate")
    alpha, confidence = options.max_false_reject, options.confidence
    certificate = Certificate(
        certified=True,
        max_false_reject=alpha,
        confidence=confidence,
        method="betting by prompt, at any time",
        unit_of_independence="prompt",
        n_prompts=tests.n_prompts,
        n_accepted=certified_on.n_accepted,
        false_rejects=lost,
        accepted_needed=betting_prompts_needed(alpha, 1 - math.exp(-tests.log_level)) * options.attempts,
        p_value=min(1.0, math.exp(-float(tests.best[: level + 1].min()))),
        bias_bound=alpha,
        tested=min(tests.n_certified + 1, path.n_levels),
        message=(
            f"with confidence {confidence:g}, at whatever time of the run it was certified, at most {alpha:.3g} of "
            f"the good samples at new prompts like these are discarded; the retained good samples differ from all good "
            f"samples by at most {alpha:.3g} in total variation"
        ),
    )
    estimate = path.levels[level]
    return PolicyFile(
        costing=path.costing,
        schedule=path.schedule,
        validators=path.validators,
        beliefs=path.beliefs,
        thresholds=path.thresholds[level],
        price=estimate.price,
        certificate=certificate,
        length_cap=path.length_cap,
        frontier=[FrontierPoint(each.price, each.saving_rate, each.false_reject_rate) for each in path.levels],
        fitted_on=path.fitted_on,
        certified_on=certified_on,
        provenance=path.provenance,
        seed=0,
        mean_root_posterior=estimate.mean_root,
        created_by=f"msifr-policy {version('msifr-policy')}",
    )
