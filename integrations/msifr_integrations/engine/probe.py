"""Which engine a model can run in: found out by running it, since no configuration tells the whole truth."""

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from msifr_integrations.engine.base import Engine, EngineKind, Sampling, in_short
from msifr_integrations.engine.masks import shortest_windows
from msifr_integrations.engine.prefill import prefill
from msifr_integrations.engine.slot_cache import SlotCache
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.engine.static_engine import StaticEngine
from msifr_policy.errors import InputError


@torch.inference_mode()
def why_no_slots(model: Any) -> str:
    """Return why `model` cannot run in slots, or "" if it can.

    The cache must consist of keys and values by position. Then three rows of different lengths are decoded in slots,
    and must give the logits of the plain forward pass, with windows shorter than the rows where the model has any:
    positions, masks and caches of any other design fail this.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder model"
    try:
        kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
        if others := sorted(kind.__name__ for kind in kinds - {DynamicLayer, DynamicSlidingWindowLayer}):
            return f"what it keeps of a sequence is more than keys and values by position: {', '.join(others)}"
        size = int(model.config.get_text_config().vocab_size)
        prompts = [[(7 * row + 3 * place + 1) % size for place in range(row + 2)] for row in range(3)]
        with shortest_windows(model.config.get_text_config()):
            prefix = prefill(model, [prompt[:-1] for prompt in prompts])
            cache = SlotCache(prefix, 3, 8)
            cache.fill([2, 0, 1], prefix, [2, 0, 1])
            last, lengths = torch.tensor([(prompt[-1], len(prompt) - 1) for prompt in prompts], device=model.device).T
            cache.show(3)
            in_slots = cache.forward(model, last, lengths).float()
            inputs = [torch.tensor([prompt], device=model.device) for prompt in prompts]
            plain = torch.stack([model(ids, use_cache=False).logits[0, -1] for ids in inputs]).float()
    except Exception as error:  # whatever a model of another design trips over
        return f"decoding in slots fails: {in_short(error)}"
    half = next(model.parameters()).dtype in (torch.float16, torch.bfloat16)
    if float((in_slots - plain).abs().max()) <= (0.05 if half else 1e-3) * float(plain.abs().max()):
        return ""
    return "decoding in slots gives other logits than the plain forward pass"


def make_engine(
    model: Any,
    *,
    kind: EngineKind = "auto",
    slots: int,
    sampling: Sampling,
    end: frozenset[int],
    kv_tokens: int | None = None,
) -> tuple[Engine, str]:
    """Return an engine for `model`, and why it is not the slot engine ("" if it is), which alone heeds `kv_tokens`.

    Raises `InputError` if `kind` is "slots" and the model cannot run in slots, or if it is in training mode.
    """
    if model.training:
        raise InputError("the model is in training mode", where="engine", remedy="call model.eval()")
    if kind not in ("auto", "slots", "static"):
        raise InputError(f"unknown engine {kind!r}", remedy="known: auto, slots, static")
    reason = "asked for" if kind == "static" else why_no_slots(model)
    if reason and kind == "slots":
        raise InputError(f"the model cannot run in slots: {reason}", remedy="use engine auto or static")
    if reason:
        return StaticEngine(model, slots=slots, sampling=sampling, end=end), reason
    # A CPU that computes the next step has no time to decide; a GPU would wait for the decisions.
    ahead = model.device.type == "cuda"
    return SlotEngine(model, slots=slots, sampling=sampling, end=end, ahead=ahead, kv_tokens=kv_tokens), ""
