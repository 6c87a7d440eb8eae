"""Checks of your own validators and policies; those of policies (`testing.policies`) need hypothesis."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
