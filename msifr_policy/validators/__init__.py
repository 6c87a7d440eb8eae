"""Validators: incremental rules that read partial text, one file each, and the registry a policy file names them from.

`base` says what a validator is; `readers` is how they read text that arrives in pieces, `equations` how the equations
in it are judged. The public names are those of the stub file beside this one, loaded when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
