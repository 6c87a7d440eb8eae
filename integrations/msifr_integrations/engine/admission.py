"""How many of the attempts that wait may begin: by slots, by the room for keys and values, by what a prefill costs.

**Room.** Every row of the cache has as many positions as the longest attempt may come to need, and all together no more
than a budget. What does not fit waits until others are over. So an attempt that has begun is never short of memory.

**Prefill.** It holds up all who run. So it waits until a quarter of the rows that there may be are free; or until
prompts fill a pack, where they are computed in packs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from msifr_integrations.engine.slot_cache import rounded

if TYPE_CHECKING:
    from msifr_integrations.engine.prefill import Prefix


class Waiting(NamedTuple):
    """An attempt that waits: tokens of its prompt, and positions that it needs at most."""

    prompt: int
    need: int


class Room(NamedTuple):
    """What there is: slots, and positions of all rows together."""

    slots: int
    positions: int

    def rows(self, need: int) -> int:
        """Return how many rows there may be if one needs so many positions."""
        return min(self.slots, self.positions // max(need, 1))

    def limit(self, need: int) -> int:
        """Return how many positions each of `rows(need)` rows, not none, may have: so many, or a few more."""
        return min(rounded(need), self.positions // self.rows(need))


def may_begin(
    waiting: Iterable[Waiting], room: Room, *, running: int, longest: int, pack: int | None = None
) -> tuple[int, int]:
    """Return how many of those that wait, in their order, are to begin now, and what the longest of all then needs.

    running: attempts that run, of which the longest needs `longest` positions. pack: tokens of a pack, None for none.
    """
    needs, tokens, fit = longest, 0, 0
    rows = room.rows(longest) if running else room.slots
    chosen: list[int] = []
    for attempt in islice(waiting, room.slots - running):
        need = max(needs, attempt.need)
        if running + len(chosen) + 1 > room.rows(need):
            break
        needs, rows = need, room.rows(need)
        chosen.append(needs)
        tokens += attempt.prompt
        fit = len(chosen) if tokens <= (pack or 0) else fit
    if chosen and (running == 0 or 4 * (rows - running) >= rows):
        return len(chosen), needs
    if pack is not None and 0 < fit < len(chosen):
        return fit, chosen[fit - 1]
    return 0, longest


def affordable(like: Prefix) -> int:
    """Return how many positions rows may have together: of the memory free now, three quarters on a GPU, else half.

    like: keys and values of one prompt, which show what a position takes.
    """
    position = sum(t.shape[1] * t.shape[3] * t.element_size() for pair in like.layers for t in pair)
    device = like.layers[0][0].device
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(3 * (torch.cuda.mem_get_info(device)[0] + unused) // 4 // position)
    return int(free_memory() // 2 // position)


def free_memory(information: str = "/proc/meminfo", group: str = "/sys/fs/cgroup") -> int:
    """Return the bytes of memory that a process may still take; half of all there is where the system does not tell.

    information: where Linux tells of the machine. group: where it tells of the container.
    """
    try:
        told = {name: rest.split() for name, _, rest in (line.partition(":") for line in _lines(information))}
        free = int(told["MemAvailable"][0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        pages = getattr(os, "sysconf", lambda _: 1 << 20)  # Windows has none: 4 GiB are taken to be there
        free = int(pages("SC_PHYS_PAGES")) * 4096 // 2
    with suppress(OSError, ValueError):  # "max" is no number: there is no limit
        most, taken = (int(_lines(f"{group}/memory.{name}")[0]) for name in ("max", "current"))
        free = min(free, max(most - taken, 0))
    return free


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="ascii").splitlines()
