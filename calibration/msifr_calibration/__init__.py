"""Calibration: from recorded traces to a certified discard policy.

The public names are those of the stub file beside this one, loaded when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
