"""Drawing of tokens that reads the logits twice, in Triton, for CUDA.

The tree of `sampling.draw` over a vocabulary of 128,256 tokens, in float64, moves a gigabyte at 128 rows. Here one
kernel sums the weights of blocks of tokens, torch draws a block by the top of the tree, and another kernel goes on
within the block that was drawn: the same tree, the same uniform numbers, sums in another order.
"""

# mypy: ignore-errors

import torch
import triton
import triton.language as tl
from torch import Tensor

from msifr_integrations.engine.sampling import descend

BLOCK = 2048
"""Tokens of a block, a power of two."""

LEVELS = BLOCK.bit_length() - 1
"""Levels of the tree within a block."""


@triton.jit
def _sums(logits, largest, warm, plain, row_, size, blocks, temperature, BLOCK: tl.constexpr):
    row, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = block * BLOCK + tl.arange(0, BLOCK)
    numbers = tl.load(logits + row * row_ + at, mask=at < size, other=-float("inf")).to(tl.float64)
    apart = numbers - tl.load(largest + row).to(tl.float64)
    tl.store(warm + row * blocks + block, tl.sum(tl.exp(apart / tl.load(temperature)), 0))
    tl.store(plain + row * blocks + block, tl.sum(tl.exp(apart), 0))


@triton.jit
def _descend(
    logits, largest, chosen, uniforms, token, apart_, row_, size, numbers_, first, temperature,
    BLOCK: tl.constexpr, LEVELS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    begin = tl.load(chosen + row) * BLOCK
    there = begin + at < size
    numbers = tl.load(logits + row * row_ + begin + at, mask=there, other=-float("inf")).to(tl.float64)
    apart = numbers - tl.load(largest + row).to(tl.float64)
    weights = tl.exp(apart / tl.load(temperature))
    low, half = tl.full([], 0, tl.int32), BLOCK
    for level in range(LEVELS):
        half = half // 2
        left = tl.sum(tl.where((at >= low) & (at < low + half), weights, 0.0), 0)
        right = tl.sum(tl.where((at >= low + half) & (at < low + 2 * half), weights, 0.0), 0)
        number = tl.load(uniforms + row * numbers_ + first + level)
        low = tl.where(number * (left + right) >= left, low + half, low)
    tl.store(token + row, begin + low)
    tl.store(apart_ + row, tl.sum(tl.where(at == low, apart, 0.0), 0))


def draw(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a token a row from logits (rows, vocabulary) of any float type, by uniforms (rows, levels) in float64.

    temperature is above 0; there are more tokens than one block has. Returns tokens, log-probabilities at temperature 1
    and at `temperature`, (rows,) each.
    """
    rows, size = logits.shape
    blocks = -(-size // BLOCK)
    top = (blocks - 1).bit_length()
    largest = logits.amax(-1)
    heat = torch.full((1,), temperature, dtype=torch.float64, device=logits.device)  # a number would be cut to float32
    warm, plain = torch.zeros(2, rows, 1 << top, dtype=torch.float64, device=logits.device)
    _sums[(rows, blocks)](
        logits, largest, warm, plain, logits.stride(0), size, 1 << top, heat, BLOCK=BLOCK, num_warps=8
    )
    chosen, whole = descend(warm, uniforms)
    token = torch.empty(rows, dtype=torch.long, device=logits.device)
    apart = torch.empty(rows, dtype=torch.float64, device=logits.device)
    _descend[(rows,)](
        logits, largest, chosen.contiguous(), uniforms, token, apart, logits.stride(0), size, uniforms.stride(0),
        uniforms.shape[1] - LEVELS, heat, BLOCK=BLOCK, LEVELS=LEVELS, num_warps=8,
    )  # fmt: skip
    return token, apart - plain.sum(-1).log(), apart / temperature - whole.log()
