"""A model's small parts replaced by fewer kernels, on CUDA, while an engine runs it.

Projections of one input become one product: query, key and value; gate and up. Root-mean-square norms, rotations and
gated activations become one kernel each (`fused_kernels`). Nothing is known of models by name: a part is replaced where
its replacement gives its numbers on random input, and stays as it is everywhere else. `Fused.undo` puts all back.

Weights of joined projections lie in one tensor, of which each is a view; no memory is needed beside it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from msifr_integrations.engine.base import in_short

QUERY_KEY_VALUE = ("q_proj", "k_proj", "v_proj")
GATE_UP = ("gate_proj", "up_proj")
ROTATION = "apply_rotary_pos_emb"

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}
"""How far a replacement may be off, as a share of the largest number."""


class Joined:
    """Projections of one input as one product: whichever is asked first computes all."""

    def __init__(self, projections: Sequence[nn.Linear]) -> None:
        self._projections = tuple(projections)
        self._sizes = [each.out_features for each in projections]
        self.weight = torch.cat([each.weight.data for each in projections])
        biases = [each.bias for each in projections]
        self.bias = None if biases[0] is None else torch.cat([bias.data for bias in biases])
        self._input: Tensor | None = None
        self._left: dict[int, Tensor] = {}
        for number, (each, own) in enumerate(zip(projections, self.weight.split(self._sizes), strict=True)):
            each.weight.data = own
            each.forward = self._of(number)  # type: ignore[assignment]

    def _of(self, number: int) -> Callable[[Tensor], Tensor]:
        def project(x: Tensor) -> Tensor:
            if self._input is not x:
                self._input, self._left = x, dict(enumerate(self.all(x).split(self._sizes, -1)))
            own = self._left.pop(number, None)
            if not self._left:
                self._input = None
            if own is not None:
                return own
            each = self._projections[number]
            return linear(x, each.weight, each.bias)

        return project

    def all(self, x: Tensor) -> Tensor:
        """Return what all projections make of x, (…, inputs), side by side."""
        return linear(x, self.weight, self.bias)

    def undo(self) -> None:
        """Make them independent again."""
        for each in self._projections:
            each.__dict__.pop("forward", None)
            each.weight.data = each.weight.data.clone()


class Fused:
    """What was replaced in a model.

    parts: how many of each kind. Nothing is replaced unless `model` is on CUDA as a whole and its parts are plain.
    """

    def __init__(self, model: Any) -> None:
        self.parts = dict.fromkeys(("projections", "norms", "activations", "rotations"), 0)
        self._undo: list[Callable[[], object]] = []
        self._known: dict[tuple[Any, ...], bool] = {}
        if not replaceable(model):
            return
        try:
            self._replace(model)
        except Exception as error:  # Triton is not there, or has no compiler, or does not know the card
            self.undo()
            warnings.warn(f"steps take all their small kernels: {in_short(error)}", RuntimeWarning, stacklevel=2)

    def undo(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()
        self.parts = dict.fromkeys(self.parts, 0)

    @torch.inference_mode()
    def _replace(self, model: Any) -> None:
        dtype = next(model.parameters()).dtype
        for module in model.modules():
            if self._norm(module, dtype):
                self.parts["norms"] += 1
            gated = self._join(module, GATE_UP)
            if gated is not None:
                self.parts["projections"] += 1
                self.parts["activations"] += self._activation(module, gated, dtype)
            if self._join(module, QUERY_KEY_VALUE) is not None:
                self.parts["projections"] += 1
        self.parts["rotations"] += self._rotation(model, dtype)

    def _join(self, module: nn.Module, names: Sequence[str]) -> Joined | None:
        projections = [getattr(module, name, None) for name in names]
        if not all(type(each) is nn.Linear for each in projections):
            return None
        linears = [each for each in projections if isinstance(each, nn.Linear)]
        kinds = {(each.in_features, each.weight.dtype, each.bias is None) for each in linears}
        if len(kinds) > 1 or any(_watched(each) for each in linears):
            return None
        joined = Joined(linears)
        self._undo.append(joined.undo)
        return joined

    def _swap(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        module.forward = forward
        self._undo.append(lambda: module.__dict__.pop("forward", None))

    def _norm(self, module: nn.Module, dtype: torch.dtype) -> bool:
        from msifr_integrations.engine.fused_kernels import rms_norm  # Triton is on GPU machines only

        weight = getattr(module, "weight", None)
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if (
            not type(module).__name__.endswith("RMSNorm")
            or not isinstance(eps, float)
            or not isinstance(weight, Tensor)
        ):
            return False
        for plus in (0.0, 1.0):

            def normed(x: Tensor, weight: Tensor = weight, eps: float = eps, plus: float = plus) -> Tensor:
                return rms_norm(x, weight, eps, plus)

            probe = _noise((3, len(weight)), weight.device, dtype)
            if self._same((type(module), len(weight), plus), module.forward, normed, probe):
                self._swap(module, normed)
                return True
        return False

    def _activation(self, module: nn.Module, gated: Joined, dtype: torch.dtype) -> bool:
        from msifr_integrations.engine.fused_kernels import silu_mul

        down = getattr(module, "down_proj", None)
        if not isinstance(down, nn.Module) or _watched(module):
            return False

        def forward(x: Tensor) -> Any:
            return down(silu_mul(gated.all(x)))

        probe = _noise((3, gated.weight.shape[1]), gated.weight.device, dtype)
        if not self._same((type(module), gated.weight.shape), module.forward, forward, probe):
            return False
        self._swap(module, forward)
        return True

    def _rotation(self, model: Any, dtype: torch.dtype) -> bool:
        from msifr_integrations.engine.fused_kernels import rotate

        owner: Any = sys.modules[type(model).__module__]
        plain = getattr(owner, ROTATION, None)
        config = model.config.get_text_config()
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        if plain is None or width % 2:
            return False

        def rotation(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **options: Any) -> Any:
            simple = q.is_cuda and not args and options.get("unsqueeze_dim", 1) == 1
            if not simple or cos.dim() != 3 or cos.shape[-1] != q.shape[-1] or q.stride(-1) != 1 or k.stride(-1) != 1:
                return plain(q, k, cos, sin, *args, **options)
            cos, sin = cos.contiguous(), sin.contiguous()
            return rotate(q, cos, sin), rotate(k, cos, sin)

        def both(turn: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
            def turned(x: Tensor) -> Tensor:
                angles = torch.arange(3 * width, device=x.device).view(1, 3, width).float()
                halves = torch.cat([angles[..., : width // 2]] * 2, -1)
                q, k = turn(x[:, :4], x[:, 4:], halves.cos().to(dtype), halves.sin().to(dtype))
                return torch.cat([q, k], 1)

            return turned

        probe = _noise((2, 5, 3, width), next(model.parameters()).device, dtype)
        if not self._same((plain, width), both(plain), both(rotation), probe):
            return False
        setattr(owner, ROTATION, rotation)
        self._undo.append(lambda: setattr(owner, ROTATION, plain))
        return True

    def _same(
        self, kind: tuple[Any, ...], old: Callable[[Tensor], Any], new: Callable[[Tensor], Any], probe: Tensor
    ) -> bool:
        """Return whether two functions give the same numbers; parts of one kind are tried once."""
        if kind not in self._known:
            self._known[kind] = False
            with suppress(TypeError, AttributeError, ValueError, IndexError):  # a part of another design
                expected = old(probe)
                if isinstance(expected, Tensor):
                    off = (new(probe).float() - expected.float()).abs().max()
                    self._known[kind] = bool(off <= TOLERANCE[probe.dtype] * expected.float().abs().max())
        return self._known[kind]


def replaceable(model: Any) -> bool:
    """Return whether all weights of a model are on one GPU, in a type that is known."""
    weights = {(weight.device, weight.dtype) for weight in model.parameters()}
    return len(weights) == 1 and all(device.type == "cuda" and dtype in TOLERANCE for device, dtype in weights)


def _watched(module: nn.Module) -> bool:
    """Return whether somebody else takes part in calls of a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in module.__dict__


def _noise(shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
