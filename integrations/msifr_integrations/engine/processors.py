"""What a model's own generation settings make of its logits, by transformers' own processors.

Temperature, top-k and top-p are those of `Sampling`. All else that a `generation_config` may ask for comes here: what
`generate()` does before the temperature, such as a penalty on repetition, and what it does after it, such as min-p. A
row is shaped by its own tokens, so that what comes out hangs on nothing but the row.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import GenerationConfig

if TYPE_CHECKING:
    from msifr_integrations.engine.sampling import Row

_SET: dict[str, Any] = {"repetition_penalty": 1.0, "suppress_tokens": None, "remove_invalid_values": False}
"""Settings that look at tokens as a set, if at all, and what means nothing."""

_ORDERED: dict[str, Any] = {
    "sequence_bias": None,
    "no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "min_length": 0,
    "min_new_tokens": 0,
    "exponential_decay_length_penalty": None,
    "begin_suppress_tokens": None,
}
"""Settings that look at the order or the number of tokens."""

_AFTER: dict[str, Any] = {"top_h": None, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
"""Settings that leave tokens out after the temperature; only of a model that samples."""

_DRAWN_BY: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
"""Settings that `Sampling` has itself."""

_REFUSED: dict[str, Any] = {
    "num_beams": 1,
    "penalty_alpha": None,
    "guidance_scale": 1.0,
    "dola_layers": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "watermarking_config": None,
    "token_healing": False,
}
"""Settings of other ways to generate, which are not followed."""


def generation_settings(model: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what the model's generation settings ask for, by their names, and names of what is not followed.

    End tokens are told by `end_tokens`, how long a text may be by each attempt. Settings of sampling count only if the
    model is meant to sample, as for `generate()`.
    """
    config = getattr(model, "generation_config", None)

    def asked(names: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: getattr(config, name, None) for name in names}
        return {name: value for name, value in values.items() if value not in (None, names[name])}

    found = asked({"stop_strings": None}) | asked(_SET | _ORDERED)
    if getattr(config, "do_sample", None):
        found |= asked(_DRAWN_BY) | asked(_AFTER)
    if isinstance(stops := found.get("stop_strings"), str):
        found["stop_strings"] = [stops]
    if isinstance(bias := found.get("sequence_bias"), dict):  # as a file would hold it
        found["sequence_bias"] = [[list(tokens), value] for tokens, value in bias.items()]
    return found, tuple(asked(_REFUSED))


class Shaped(NamedTuple):
    """What is done to the logits (rows, vocabulary) of one step: before the temperature, and after top-k and top-p."""

    before: Callable[[Tensor], Tensor]
    after: Callable[[Tensor], Tensor]


class Shaping:
    """What these settings of a model (`generation_settings`) do to its logits.

    end: the token ids that end an attempt.
    """

    def __init__(self, model: Any, settings: Mapping[str, Any], end: frozenset[int]) -> None:
        self._model, self._end = model, torch.tensor(sorted(end), device=model.device)
        before = {name: value for name, value in settings.items() if name in _SET | _ORDERED}
        after = {name: value for name, value in settings.items() if name in _AFTER}
        self._apart = any(name in _ORDERED for name in before)
        self._before = lru_cache(256)(lambda prompt: self._processors(prompt, before)) if before else None
        self._after = self._processors(1, after | {"do_sample": True}) if after else None

    def __bool__(self) -> bool:
        """Return whether they do anything."""
        return self._before is not None or self._after is not None

    def of(self, rows: Sequence["Row | None"]) -> Shaped | None:
        """Return what is done to the logits of these rows, None if nothing is; a row of no attempt is left alone."""
        if not self:
            return None
        return Shaped(lambda logits: self._shape(logits, rows), self._leave_out)

    def _leave_out(self, scaled: Tensor) -> Tensor:
        left: Tensor = scaled if self._after is None else self._after(None, scaled)
        return left

    def _shape(self, logits: Tensor, rows: Sequence["Row | None"]) -> Tensor:
        if self._before is None:
            return logits
        prompts = [() if row is None else cast(tuple[int, ...], row.attempt.prompt) for row in rows]
        ids = [[*prompt, *(() if row is None else row.tokens)] for prompt, row in zip(prompts, rows, strict=True)]
        if self._apart:
            device = logits.device
            shaped = [
                self._before(len(prompt))(torch.tensor([own], device=device), of_row) if own else of_row
                for prompt, own, of_row in zip(prompts, ids, logits.split(1), strict=True)
            ]
            return torch.cat(shaped)
        # A token more of those that are there already makes no other set.
        width = max(map(len, ids))
        padded = [own + (own[-1:] or [0]) * (width - len(own)) for own in ids]
        shaped_at_once: Tensor = self._before(1)(torch.tensor(padded, device=logits.device), logits)
        return shaped_at_once

    def _processors(self, prompt: int, settings: Mapping[str, Any]) -> Any:
        """Return processors by settings for prompts of so many tokens; their order is that of `generate()`."""
        config = GenerationConfig(**settings)
        config._eos_token_tensor = self._end
        return self._model._get_logits_processor(config, input_ids_seq_length=prompt, device=self._model.device)
