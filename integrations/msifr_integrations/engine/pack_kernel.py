"""Attention of prompts that lie end to end, each to its own tokens only, in Triton, for CUDA.

With a mask every token is compared with all of the pack, whoever's they are. Here a block of tokens goes through the
keys from the beginning of the first of its prompts on, so the time is that of the prompts alone.
"""

# mypy: ignore-errors

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64
"""Tokens of a block; a pack has a multiple of it."""


@triton.jit
def _attend(
    query, key, value, out, starts, scale, q_head, q_at, k_head, k_at, v_head, v_at, groups, width,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at, ahead, place = block * BLOCK + tl.arange(0, BLOCK), tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    wide, shared = place < width, head // groups
    queries = tl.load(query + head * q_head + at[:, None] * q_at + place[None, :], mask=wide[None, :], other=0.0)
    begins = tl.load(starts + at)
    largest = tl.full([BLOCK], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    mixed = tl.zeros([BLOCK, WIDTH], tl.float32)
    for number in range(tl.load(starts + block * BLOCK) // BLOCK, block + 1):
        keys_at = number * BLOCK + ahead
        keys = tl.load(key + shared * k_head + keys_at[None, :] * k_at + place[:, None], mask=wide[:, None], other=0.0)
        seen = (keys_at[None, :] <= at[:, None]) & (keys_at[None, :] >= begins[:, None])
        scores = tl.where(seen, tl.dot(queries, keys, input_precision="ieee") * scale, -float("inf"))
        larger = tl.maximum(largest, tl.max(scores, 1))
        base = tl.where(larger == -float("inf"), 0.0, larger)  # nothing of one's own has come yet
        fading, weights = tl.exp(largest - base), tl.exp(scores - base[:, None])
        values = tl.load(
            value + shared * v_head + keys_at[:, None] * v_at + place[None, :], mask=wide[None, :], other=0.0
        )
        total = total * fading + tl.sum(weights, 1)
        mixed = mixed * fading[:, None] + tl.dot(weights.to(values.dtype), values, input_precision="ieee")
        largest = larger
    to = out + (at[:, None] * tl.num_programs(1) + head) * width + place[None, :]
    tl.store(to, (mixed / total[:, None]).to(out.dtype.element_ty), mask=wide[None, :])


def attend_pack(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    """Attend: query (1, heads, tokens, width), key and value (1, kv_heads, tokens, width), starts (tokens,).

    Token i sees tokens `starts[i]` … i; starts never decrease. There are a multiple of `BLOCK` tokens; the last
    dimension of each is contiguous. Returns (1, tokens, heads, width).
    """
    _, heads, tokens, width = query.shape
    out = torch.empty(1, tokens, heads, width, dtype=query.dtype, device=query.device)
    _attend[(tokens // BLOCK, heads)](
        query, key, value, out, starts, scale, *query.stride()[1:3], *key.stride()[1:3], *value.stride()[1:3],
        heads // key.shape[1], width, BLOCK=BLOCK, WIDTH=max(16, triton.next_power_of_2(width)), num_warps=4,
        num_stages=2,
    )  # fmt: skip
    return out
