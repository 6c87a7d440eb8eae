"""The command line: `msifr score|fit|evaluate|simulate|generate`; `main` is loaded when it is first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
