"""What a policy would save, before there is any data: a hazard model of errors and of what flags them, simulated."""

import numpy as np

from msifr_policy import HazardModel, hazard_rates
from msifr_sim import simulate_hazard, summarise

stages = 8
model = HazardModel(
    hazard=(0.1,) * stages,  # an error appears in a stage, if none has before
    detection=(0.6,) * stages,  # and is flagged at a checkpoint
    false_alarm=(0.005,) * stages,  # a clean attempt is flagged
    accept_clean=0.9,
    accept_faulty=0.05,
    stage_costs=(50,) * stages,  # tokens
)
print(f"exactly: net cost factor {hazard_rates(model).net_cost_factor:.3f}")
print(f"drawn: {summarise(simulate_hazard(model, 20_000, np.random.default_rng(0))).net_cost_factor:.3f}")
