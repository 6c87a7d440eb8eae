r"""What a model's own states say of an attempt: log-odds by a linear probe, from numbers that its engine hands out.

The state of a token is the output h of one decoder layer at the position from whose logits the token was drawn, so it
is known as soon as the token is. A probe (`msifr_calibration.beliefs.probe`) gives three numbers of each state. Of an
attempt whose last token has state h, whose step so far has states of mean m, and whose first token has state p,

    odds = w_last·h + w_step·m + w_prompt·p + b    in nats of log-odds of acceptance.

p is what the model makes of the prompt. It is known with the first token, not before it: at checkpoint 0 the odds are
not known. A step begins with the first token after one whose text holds a newline; the mean at a newline is that of the
step it ends. Being linear, the probe is applied where the states are (`engine.states`), and no state leaves the device.
"""

import math
from functools import lru_cache

from msifr_policy.errors import InputError
from msifr_policy.validators.base import NO_TOKENS, Evidence, Rule, Silence, Tokens, ValidatorState, evidence
from msifr_policy.weights import Arrays, recall

NUMBERS = 3
"""Numbers of each state: its w_last·h + b, its w_step·h, its w_prompt·h."""


class Hidden(Rule, frozen=True):
    """Log-odds of acceptance by the states of the model that makes the attempts.

    weights: SHA-256 of a safetensors file with "hidden.weights" `[d, 3]` and "hidden.bias" `[3]`, float32. layer: the
    decoder layer whose output is read, from 0. model: fingerprint of the model that the probe was fitted to. Without
    weights it says nothing. Raises `InputError` when started with weights that are unknown or of another shape.
    """

    name = "hidden"
    columns = ("odds",)
    weights: str | None = None
    layer: int = 0
    model: str = ""

    def __post_init__(self) -> None:
        self._check("layer", self.layer >= 0, "count from 0")

    def _state(self, _: str) -> ValidatorState:
        if self.weights is None:
            return Silence(self.columns)
        probe_of(self.weights)
        return _HiddenState()


@lru_cache(8)
def probe_of(weights: str) -> Arrays:
    """Return the arrays of a probe. Raises `InputError` if they are not known or of another shape."""
    arrays = recall(weights)
    shapes = [arrays[name].shape if name in arrays else None for name in ("hidden.weights", "hidden.bias")]
    if shapes[0] is None or len(shapes[0]) != 2 or shapes[0][1] != NUMBERS or shapes[1] != (NUMBERS,):
        what = f"weights of shape {shapes[0]} and bias of shape {shapes[1]}, not (d, {NUMBERS}) and ({NUMBERS},)"
        raise InputError(what, where="validator hidden")
    return arrays


class _HiddenState:
    def __init__(self) -> None:
        self._last = self._prompt = math.nan
        self._sum = 0.0
        self._number = 0  # of tokens in the step
        self._over = True  # the next token begins a step

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Count the new tokens whose states are known."""
        before = 0
        for (last, step, prompt), (begins, ends) in zip(tokens.states, tokens.spans, strict=True):
            if math.isnan(self._prompt):
                self._prompt = prompt
            if self._over or "\n" in text[before:begins]:  # what is left of a token that a checkpoint cut
                self._sum, self._number = 0.0, 0
            self._last = last
            self._sum += step
            self._number += 1
            self._over = "\n" in text[begins:ends]
            before = ends
        self._over |= "\n" in text[before:]
        if not self._number:
            return evidence(math.nan)
        return evidence(self._last + self._sum / self._number + self._prompt)
