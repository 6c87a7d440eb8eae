"""Simulation: what a policy would save, by replay of traces and by Monte Carlo under a model.

The public names are those of the stub file beside this one; each is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
