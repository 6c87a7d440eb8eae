"""Final filters: what makes a finished attempt acceptable.

A **final filter** sees the prompt's record and the finished text and says whether the attempt is **accepted**
(A = 1). The built-in ones find a text's answer (`Extract`) and compare it with the prompt's `gold`: as numbers
(`NumericMatch`), choices (`ChoiceMatch`), letter by letter (`ExactMatch`) or as mathematics (`MathVerify`); or they
validate a document (`JsonSchema`), run a program with its tests (`UnitTests`), or compare a score with a threshold
(`ScoreThreshold`). Any function of (prompt, text) will do instead.

A text is hostile. What runs in our process evaluates bounded arithmetic at most, in time linear in the text; what
needs more runs in a process of its own, within limits. A filter fails closed: a text that it cannot judge is not
accepted, and the `Judgement` says why.

Some filters also say, while a text is still coming, that its answer is complete: see `reader_of`, and `decided` for
what ending an attempt there means.

The public names are those of the stub file beside this one, loaded when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
