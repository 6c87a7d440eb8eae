"""Which slot an attempt takes, and where the keys and values of its prompt come from.

A slot goes on holding its last prompt when its attempt is over. So attempts at one prompt need no prefill of their own,
side by side or one after another, as long as some slot holds the prompt: the slots are their own cache of prompts, and
take no memory for it. Slots that have been free for longest are taken first, for a prompt goes on soon, if it does.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

Prompt = tuple[int, ...]


class Places(NamedTuple):
    """Where attempts go.

    slots: one for each, in their order. shared: (slot, source, length) where a slot begins with the first `length`
    positions of slot `source`, itself perhaps. fresh: prompts to compute, and the slots that each goes to.
    """

    slots: list[int]
    shared: list[tuple[int, int, int]]
    fresh: dict[Prompt, list[int]]


def places(prompts: Sequence[Prompt], free: Sequence[int], held: Sequence[Prompt]) -> Places:
    """Place attempts at `prompts` in `free` slots (longest free first, enough of them); slot s holds `held[s]`.

    A prompt is what comes before the token that is fed first, and may be empty. All that is shared is to be read before
    any slot is written.
    """
    waiting: dict[Prompt, deque[int]] = {}
    for slot in free:
        waiting.setdefault(held[slot], deque()).append(slot)
    own = [waiting[prompt].popleft() if waiting.get(prompt) else None for prompt in prompts]
    taken = set(own)
    others = iter([slot for slot in free if slot not in taken])
    slots = [next(others) if slot is None else slot for slot in own]
    holder = {prompt: slot for slot, prompt in enumerate(held)}
    shared, fresh = [], dict[Prompt, list[int]]()
    for prompt, slot in zip(prompts, slots, strict=True):
        if held[slot] == prompt or not prompt:
            shared.append((slot, slot, len(prompt)))
        elif prompt in holder:
            shared.append((slot, holder[prompt], len(prompt)))
        else:
            fresh.setdefault(prompt, []).append(slot)
    return Places(slots, shared, fresh)
