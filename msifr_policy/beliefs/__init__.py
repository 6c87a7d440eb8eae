"""What a policy believes at a checkpoint: posterior and cost to go, evaluated by numpy alone."""

from msifr_policy.beliefs.blend import Beliefs as Beliefs
