"""Property tests for your own policies and validators; needs hypothesis."""

from msifr_policy.testing.policies import *  # noqa: F403
