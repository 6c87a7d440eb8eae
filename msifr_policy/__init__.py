"""msifr_policy: the decision core of multi-stage in-flight rejection, and the records everyone shares.

The mathematics (`msifr_policy.exact`): finite stage processes, their exact evaluation, the optimum of cost per accepted
sample and the frontier, what the martingale does and does not promise, exact unbiasedness by roulette. What runs:
traces and ledgers (`records`), schedules and evidence tables (`evidence`), validators, final filters, beliefs, and the
policy file. `msifr_policy.testing` checks policies and validators of your own.

The public names are those of the stub file beside this one; each is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
