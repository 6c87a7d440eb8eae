"""The world outside: the generation engine, the command line, reports, the embedded model and the demo.

The public names are those of the stub file beside this one; each is loaded when it is first used, and torch and
transformers by the modules that need them, when they run.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
