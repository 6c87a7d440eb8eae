"""Watching a certified policy at work: does its certificate still hold [T11, T12, T14]?

`scores` turns the finished prompts of a run into numbers; `alarms` and `confidence` say what they tell of the
false-reject rate f, `calibration_test` of the beliefs, `drift` of the evidence; `monitor` puts them together.
The public names are those of the stub file beside this one, loaded when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
