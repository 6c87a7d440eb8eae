"""Attention of a decode step as one kernel that reads each row's own keys only, in Triton, for CUDA.

The plain way reads as many keys of every row as the longest row has, and a mask hides the rest. Here row r reads its
`lengths[r] + 1` keys, so the time is that of the keys there are, and one shape serves all lengths. A row's result hangs
on nothing but the row.

One program takes one row and one key-value head, with all query heads of its group: it goes through the keys in blocks
and keeps for each query the largest score so far, the sum of weights, and the weighted sum of values, the last two
scaled down when a larger score comes. Many rows are needed to keep a GPU busy so, or many key-value heads.
"""

# mypy: ignore-errors

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _attend(
    query, key, value, out, lengths, scale, q_row, q_head, k_row, k_head, k_at, v_row, v_head, v_at, groups, width,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    count = tl.load(lengths + row) + 1
    group, place, ahead = tl.arange(0, GROUPS), tl.arange(0, WIDTH), tl.arange(0, KEYS)
    inside, wide = (group < groups)[:, None] & (place < width)[None, :], place < width
    queries = tl.load(
        query + row * q_row + (head * groups + group)[:, None] * q_head + place[None, :], mask=inside, other=0.0
    )
    largest = tl.full([GROUPS], -float("inf"), tl.float32)
    total = tl.zeros([GROUPS], tl.float32)
    mixed = tl.zeros([GROUPS, WIDTH], tl.float32)
    for first in range(0, count, KEYS):
        at = first + ahead
        there = at < count
        keys = tl.load(
            key + row * k_row + head * k_head + at[None, :] * k_at + place[:, None],
            mask=there[None, :] & wide[:, None], other=0.0,
        )  # fmt: skip
        scores = tl.where(there[None, :], tl.dot(queries, keys, input_precision="ieee") * scale, -float("inf"))
        larger = tl.maximum(largest, tl.max(scores, 1))
        fading, weights = tl.exp(largest - larger), tl.exp(scores - larger[:, None])
        values = tl.load(
            value + row * v_row + head * v_head + at[:, None] * v_at + place[None, :],
            mask=there[:, None] & wide[None, :], other=0.0,
        )  # fmt: skip
        total = total * fading + tl.sum(weights, 1)
        mixed = mixed * fading[:, None] + tl.dot(weights.to(values.dtype), values, input_precision="ieee")
        largest = larger
    heads = tl.num_programs(1) * groups
    to = out + (row * heads + (head * groups + group))[:, None] * width + place[None, :]
    tl.store(to, (mixed / total[:, None]).to(out.dtype.element_ty), mask=inside)


def attend(query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """Attend: query (rows, heads, 1, width), key and value (rows, kv_heads, keys, width), lengths (rows,).

    Row r sees its first `lengths[r]` + 1 keys, of which there are at least so many. The last dimension of each, and the
    lengths, are contiguous. Returns (rows, heads, 1, width).
    """
    rows, heads, _, width = query.shape
    kv_heads = key.shape[1]
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    block = 64 if width * query.element_size() <= 256 else 32
    _attend[(rows, kv_heads)](
        query, key, value, out, lengths, scale, *query.stride()[:2], *key.stride()[:3], *value.stride()[:3],
        heads // kv_heads, width,
        GROUPS=max(16, triton.next_power_of_2(heads // kv_heads)),
        WIDTH=max(16, triton.next_power_of_2(width)),
        KEYS=block, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out
